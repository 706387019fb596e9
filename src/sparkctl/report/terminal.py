"""What a run says in the terminal: the headline table, the tool mix, the time per stage, where the files are."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from sparkctl.method.episode import ACTIONS
from sparkctl.method.plain import plain
from sparkctl.report.figures import verdict
from sparkctl.report.figures.comparison import Comparison, Entropy
from sparkctl.report.figures.reliability import Reliability
from sparkctl.report.figures.scorecard import Scorecard
from sparkctl.report.figures.statistics import POINT, Estimate, Interval
from sparkctl.report.figures.summary import Summary, percent
from sparkctl.report.run_tables import Material


class Screen(Console):
    """A console for texts that others wrote: what a terminal would obey is shown, and "[red]" is no colour but a word."""

    def __init__(self, **how: Any) -> None:
        super().__init__(markup=False, emoji=False, **how)

    def render_str(self, text: str, **how: Any) -> Text:
        """A string: made plain before it is measured."""
        return super().render_str(plain(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments, of which all but the console's own commands are plain."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else plain(text), style, control)


NANO_SAYS = (
    "nano shows that the method works as described, on a policy of under 1 M parameters and generated questions. "
    "It says nothing about how large models behave."
)


def headline(console: Console, summaries: Mapping[str, Summary]) -> None:
    """Accuracy and tool-choice entropy per policy, with 95 % intervals; it fits 80 columns."""
    table = Table(title="Policies on unseen questions (95 % intervals)", title_justify="left")
    table.add_column("policy", overflow="fold")
    for name in next((list(s.shown()) for s in summaries.values()), []):
        table.add_column(name, justify="right", no_wrap=True)
    for name, s in summaries.items():
        table.add_row(name, *s.shown().values())
    console.print(table)
    if any(s.scoring == "official" for s in summaries.values()):
        console.print(verdict.scored(summaries), highlight=False)
    lost = [f"{s.errors} of {s.n + s.errors} of {name}" for name, s in summaries.items() if s.errors]
    if lost:
        told = f"Ended by a failed call of the policy, neither right nor wrong, in no figure: {', '.join(lost)}."
        console.print(told, highlight=False, markup=False, soft_wrap=True)


def verdicts(console: Console, run: Material) -> None:
    """What a run shows: the headline table, and in plain words what follows from it or what is missing."""
    console.print(f"Run {run.name}", markup=False)
    if run.summaries:
        headline(console, run.summaries)
    found = verdict.verdicts(run)
    said = [f"{v.question} {v.answer}. {v.because}" for v in found] or [verdict.no_verdict(run)]
    if found:
        said.insert(0, f"What this run shows of {verdict.subject(run)}:")
    if run.missing:
        said.append(f"This run is not finished. Missing: {', '.join(run.missing)}.")
    for line in [*said, *verdict.walled(run), *([NANO_SAYS] if run.is_nano else [])]:
        console.print(line, markup=False, highlight=False)


def findings(console: Console, found: Sequence[tuple[str, bool | None, str, str]]) -> None:
    """What works here: (what, whether, what was found, what to do); None for what is not needed, or not known."""
    table = Table(
        Column("what", no_wrap=True),
        Column("works", no_wrap=True),
        Column("found", overflow="fold"),
        Column("what to do", overflow="fold"),
    )
    words = {True: "yes", False: "NO", None: "-"}
    for what, works, says, do in found:
        table.add_row(what, words[works], says, do, style="red" if works is False else None)
    console.print(table, markup=False)


def tool_mix(console: Console, summaries: Mapping[str, Summary]) -> None:
    """Share of each action among the choices, per policy."""
    rows = {action: [s.tool_share.get(action) for s in summaries.values()] for action in ACTIONS}
    _shares(console, "Tool mix, % of choices without the answering cot (95 % intervals)", "action", summaries, rows)


def categories(console: Console, summaries: Mapping[str, Summary]) -> None:
    """Accuracy per category and policy, and the averages."""
    names = {name for s in summaries.values() for name in s.n_by_category}
    # Where calls failed the policies differ in it.
    counts = {name: max(s.n_by_category.get(name, 0) for s in summaries.values()) for name in names}
    rows = {name: [s.accuracy_by_category.get(name) for s in summaries.values()] for name in sorted(counts)}
    rows |= {
        "micro average": [s.accuracy for s in summaries.values()],
        "macro average": [s.accuracy_macro for s in summaries.values()],
    }
    counts["micro average"] = sum(counts.values())
    _shares(console, "Accuracy by category, % (95 % intervals)", "category", summaries, rows, counts)


def _shares(
    console: Console,
    title: str,
    first: str,
    policies: Iterable[str],
    rows: Mapping[str, Sequence[Estimate | None]],
    counts: Mapping[str, int] | None = None,
) -> None:
    """A table of percentages, one column per policy; with four it fits 80 columns."""
    console.print(title, highlight=False)
    table = Table(first, padding=(0, 0, 0, 1))
    for name in [*(["n"] if counts else []), *policies]:
        table.add_column(name, justify="right")
    for name, shares in rows.items():
        n = [str(counts.get(name, ""))] if counts else []
        table.add_row(name, *n, *("-" if share is None else percent(share, 0) for share in shares))
    console.print(table)


def stages(console: Console, seconds: Mapping[str, float], reused: Mapping[str, int]) -> None:
    """Seconds per stage, rounds added up, and how many of its tables were up to date."""
    table = Table(title="Time per stage", title_justify="left")
    for name in ("stage", "seconds", "reused"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage in seconds:
        table.add_row(stage, f"{seconds[stage]:.1f}", str(reused.get(stage, 0)))
    table.add_row("all", f"{sum(seconds.values()):.1f}", str(sum(reused.values())))
    console.print(table)


def audits(console: Console, found: Mapping[str, Mapping[str, Any]]) -> None:
    """The credit audit of each variant: what would teach what, and why the rest is dropped."""
    for name, figures in found.items():
        sums = figures["sums"]
        said = ", ".join(f"{term} {value:.1f}" for term, value in sums.items() if value is not None)
        console.print(
            f"train {name}: {figures['trained']} of {figures['actions']} actions, {figures['trained_tokens']} tokens"
        )
        console.print(f"  with an advantage other than 0: {figures['signal'] * 100:.1f} %")
        console.print(f"  sums: {said or 'nothing is trained'}")
        for term, spread in figures["spreads"].items():
            idle = " (not acting)" if term in figures["not_acting"] else ""
            console.print(f"  spread of {term} after its baseline: {spread:.3f}{idle}")
        for reason, count in figures["dropped"].items():
            console.print(f"  dropped: {count} {reason}", markup=False)
        table = Table("action", Column("trained", justify="right"), Column("mean advantage", justify="right"))
        for action, of in figures["by_action"].items():
            table.add_row(action, str(of["trained"]), f"{of['advantage']:+.3f}")
        console.print(table)


def footprints(console: Console, found: Mapping[str, Mapping[str, Any]]) -> None:
    """What each variant's training will take."""
    table = Table(title="What training will take (memory: an estimate)", title_justify="left")
    for name in ("", *found):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for label, show in _FOOTPRINT.items():
        table.add_row(label, *(show(figures) for figures in found.values()))
    console.print(table)
    if any(figures["tokens_per_epoch"] is None for figures in found.values()):
        console.print("Tokens and updates: the judged steps are not made yet; `sparkctl select` makes them.")


def _count(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda figures: "?" if figures[name] is None else f"{figures[name]:,}"


def _gigabytes(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda figures: f"{figures['memory'][name] / 2**30:.2f} GiB"


_FOOTPRINT: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "parameters": _count("parameters"),
    "trainable": lambda figures: f"{figures['trainable']:,} ({figures['trainable_share'] * 100:.2f} %)",
    "rollouts": _count("rollouts"),
    "actions": _count("actions"),
    "trained tokens": _count("trained_tokens"),
    "tokens per epoch": _count("tokens_per_epoch"),
    "as rows": _count("row_tokens_per_epoch"),
    "updates": _count("updates"),
    **{f"memory: {name}": _gigabytes(name) for name in ("weights", "adapters", "activations", "logits", "all")},
}


def scores(console: Console, card: Scorecard, mode: str) -> None:
    """A scored file: per category, in all, and what could not be read."""
    table = Table(title=f"Accuracy, {mode} rules (95 % intervals)", title_justify="left")
    table.add_column("category", no_wrap=True)
    for name in ("accuracy, %", "not read", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, share in {**card.categories, "all (micro average)": card.overall}.items():
        shown = percent(Estimate(share.accuracy, *share.accuracy_ci))
        table.add_row(name, shown, str(share.extraction_failed), str(share.n))
    if macro := card.macro:
        table.add_row("macro average", percent(macro), "", "")
    console.print(table)
    if card.overall.questions < card.overall.n:
        told = f"{card.overall.n} outputs to {card.overall.questions} questions: the intervals are over questions."
        console.print(told, soft_wrap=True)
    failed, guessed = card.overall.extraction_failed, card.overall.guessed_right
    told = f", of which a random guess got {guessed} right" if mode == "official" else "; they count as wrong"
    console.print(f"extraction_failed: {failed} of {card.overall.n}{told}.", soft_wrap=True)
    if card.errors:
        console.print(f"errors: {card.errors} further outputs, whose calls failed; in no figure.", soft_wrap=True)


def comparison(console: Console, found: Comparison) -> None:
    """Two policies side by side, and in words what the figures allow to say."""
    table = Table(title=f"a = {found.a}, b = {found.b}; b less a in points (95 % intervals)", title_justify="left")
    table.add_column("category", no_wrap=True)
    for name in ("n", "a, %", "b, %", "b - a", "p (Holm)"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, part in {**found.categories, "all": found.accuracy}.items():
        shown = f"{_signed(part.difference)} ({_range(part.difference_ci)})"
        p = part.p if part.p_holm is None else part.p_holm
        table.add_row(name, str(part.n), f"{part.a * 100:.1f}", f"{part.b * 100:.1f}", shown, f"{p:.3f}")
    console.print(table)
    for sentence in _conclusions(found):
        console.print(sentence, soft_wrap=True)


def _conclusions(found: Comparison) -> list[str]:
    accuracy, entropy = found.accuracy, found.tool_entropy_bits
    differing = [name for name, part in found.categories.items() if part.evidence]
    return [
        f"Accuracy: {_signed(accuracy.difference)} points ({_range(accuracy.difference_ci)}), {found.test} p = "
        f"{accuracy.p:.3f}: {_verdict(accuracy.evidence)}.",
        f"Categories: {_verdict(bool(differing))}{' in ' + ', '.join(differing) if differing else ' in any'}.",
        f"Tool-choice entropy: {_bits(entropy)}",
        f"Flipped: {len(accuracy.only_a)} questions better under a, {len(accuracy.only_b)} better under b (ids in --json).",
        *([_left_out(found)] if found.left_out else []),
        _size(found),
        f"Intervals of accuracy: Bonett & Price, each for itself; p (Holm) allows for {len(found.categories)} categories. Of "
        f"entropy: bootstrap over questions, {found.resamples:,} resamples, seed {found.seed}.",
    ]


def _left_out(found: Comparison) -> str:
    return f"Left out: {found.left_out} questions that failed calls left without an answer under a or b."


def _bits(entropy: Entropy) -> str:
    if entropy.difference is None or entropy.difference_ci is None:
        said = ("no choices" if bits is None else f"{bits:.2f} bits" for bits in (entropy.a, entropy.b))
        return f"{' and '.join(said)}, so that they cannot be compared."
    low, high = entropy.difference_ci
    change = f"{entropy.difference:+.2f} ({low:+.2f} to {high:+.2f})"
    return f"{entropy.a:.2f} and {entropy.b:.2f} bits, {change}: {_verdict(entropy.evidence)}."


def _size(found: Comparison) -> str:
    needed, d = found.questions_for_one_point, found.discordance
    if needed is None:
        return "How many questions would show one point cannot be said: no question was answered differently."
    of = "the mean square of a question's difference" if found.averaged else "of the questions answered differently"
    return (
        f"To see one point (power about 80 %, level 5 %) takes about {needed:,} questions{found.caveat}; here were {found.accuracy.n:,}. "
        f"n = (1.96 sqrt(d) + 0.84 sqrt(d - {POINT}^2))^2 / {POINT}^2, with d = {d:.3f} {of}."
    )


def _verdict(evidence: bool) -> str:
    return "a difference" if evidence else "no evidence of a difference"


def _signed(share: float) -> str:
    return f"{share * 100:+.1f}"


def _range(interval: Interval) -> str:
    return f"{_signed(interval[0])} to {_signed(interval[1])}"


def estimates(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """Calls, tokens and dollars of judging, step by step, before anything is sent."""
    table = Table(title="What judging would take", title_justify="left")
    table.add_column("step", no_wrap=True)
    for name in ("calls", "remem- bered", "prompt tokens", "answer tokens", "cost, $", "at most, $"):
        table.add_column(name, justify="right")
    sums = {name: [e[name] for e in found if e["calls"] is not None] for name in _SUMMED}
    for e in found:
        if e["calls"] is None:
            most = "" if e["at_most_calls"] is None else f"at most {e['at_most_calls']:,}"
            table.add_row(e["step"], most, "not made yet")
        else:
            table.add_row(e["step"], *_estimated(e))
    if len(found) > 1:
        made = len(sums["calls"]) == len(found)
        row = _estimated({k: None if None in v else sum(v) for k, v in sums.items()})
        table.add_row("all" if made else "so far", *row)
    console.print(table)
    console.print(
        "Prompt tokens are counted; answers are expected at 30 tokens per candidate. At most: every answer as long as "
        "judge.max_tokens allows, without re-asks of answers that cannot be read.",
        soft_wrap=True,
    )


_SUMMED = ("calls", "remembered", "prompt_tokens", "answer_tokens", "cost_usd", "most_usd")


def _estimated(e: Mapping[str, Any]) -> list[str]:
    tokens = [f"{e[name]:,}" for name in _SUMMED[:4]]
    return tokens + ["unknown" if e[name] is None else f"{e[name]:.2f}" for name in _SUMMED[4:]]


def agreement(console: Console, found: Reliability) -> None:
    """Whether a judge says the same twice."""
    table = Table(title=f"{found.states} states scored again, in another order", title_justify="left")
    table.add_column("measure", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_row("candidates scored both times", str(found.candidates))
    table.add_row("candidates not scored in one pass", str(found.unscored))
    table.add_row("Krippendorff's alpha (interval)", _number(found.alpha, "{:.3f}"))
    table.add_row("mean shift, points (second less first)", _number(found.mean_shift, "{:+.2f}"))
    table.add_row("mean absolute change, points", _number(found.mean_change, "{:.2f}"))
    table.add_row(
        f"candidates that cross the threshold {found.threshold:g} ({_VIABLE[found.viable]})",
        _number(found.crossed, "{:.1%}"),
    )
    table.add_row("states whose viable set changes", _number(found.viable_set_changed, "{:.1%}"))
    console.print(table)


_VIABLE = {"at_least": "viable itself", "above": "not viable itself"}


def _number(value: float | None, form: str) -> str:
    return "cannot be said" if value is None else form.format(value)
