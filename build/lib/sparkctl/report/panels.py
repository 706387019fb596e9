"""The parts of a report, each a table of figures with what it shows in words and, where that helps, its charts.

A part whose tables the run does not have is None. Tables are in plain units: shares from 0 to 1, seconds, US dollars.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sparkctl.episode import ACTIONS
from sparkctl.report import charts
from sparkctl.report.comparison import Comparison
from sparkctl.report.diversity import as_row, by_tool, entropies, measures
from sparkctl.report.entropy import tool_counts
from sparkctl.report.finished import finished
from sparkctl.report.material import Material
from sparkctl.report.statistics import (
    RESAMPLES,
    SEED,
    Estimate,
    wilson,
)
from sparkctl.report.summary import percent, tool_shares
from sparkctl.report.verdict import in_words, scored, verdicts

Row = dict[str, Any]


_DRAWN = f"{RESAMPLES:,} resamples of the questions, seed {SEED}"


@dataclass(frozen=True)
class Chart:
    """A drawing and its text alternative."""

    svg: str
    says: str


@dataclass(frozen=True)
class Cut:
    """A text too long for a page: what is shown of it, and the whole for those who ask."""

    short: str
    whole: str

    def __str__(self) -> str:
        return self.short


@dataclass(frozen=True)
class Panel:
    """One part of the report. `name` is also that of its files and its place on the page."""

    name: str
    title: str
    explains: str
    table: pa.Table
    draw: Callable[[str], list[Chart]] = lambda prefix: []
    """The charts; `prefix` tells the drawings of several runs on one page apart."""
    shown: tuple[Row, ...] = ()
    """The table as people read it, where that is not the table as it is."""


@dataclass(frozen=True)
class Findings:
    """A run with all parts for which it has the tables, in the order of the page."""

    run: Material
    panels: list[Panel]

    @classmethod
    def of(cls, run: Material) -> "Findings":
        """Work them out."""
        return cls(run, [panel for make in _PANELS if (panel := make(run)) is not None])

    def as_json(self) -> dict[str, Any]:
        """All figures, for programs."""
        said = [vars(verdict) for verdict in verdicts(self.run)]
        tables = {panel.name: panel.table.to_pylist() for panel in self.panels}
        return {"main": self.run.main, "verdicts": said, "missing": self.run.missing, **tables}


# ---- evaluation ------------------------------------------------------------------------------------------------------


def headline(run: Material) -> Panel | None:
    """Accuracy and diversity per policy, and how they differ from the base."""
    if not run.summaries:
        return None
    rows = [
        {
            "policy": name,
            "n": s.n,
            "scoring": s.scoring,
            **as_row("accuracy", s.accuracy),
            **as_row("accuracy_macro", s.accuracy_macro),
            **as_row("entropy_bits", s.tool_entropy_bits),
            "no_answer": s.extraction_failed,
            "failed_calls": s.failed_calls,
            "unreadable_turns": s.unreadable_turns,
            "errors": s.errors,
            "steps_per_question": s.steps_per_question,
            **_against_base(run.comparisons.get(name)),
        }
        for name, s in run.summaries.items()
    ]
    shown = tuple(
        {
            "policy": name,
            **s.shown(),
            "macro average, %": percent(s.accuracy_macro),
            "calls failed": str(s.errors),
            "against base": _words(run.comparisons.get(name)),
        }
        for name, s in run.summaries.items()
    )

    def draw(prefix: str) -> list[Chart]:
        by = {
            "accuracy": {name: {name: astuple(s.accuracy)} for name, s in run.summaries.items()},
            "entropy": {
                name: {name: astuple(s.tool_entropy_bits)} for name, s in run.summaries.items() if s.tool_entropy_bits
            },
        }
        labels = {"accuracy": "accuracy on unseen questions", "entropy": "entropy of tool choice, bits"}
        return [
            Chart(
                charts.dots(f"{prefix}{kind}", series, labels[kind], run.policies, percent=kind == "accuracy"),
                f"{labels[kind]}, with 95 % intervals: "
                + "; ".join(f"{name} {_shown(points[name], kind == 'accuracy')}" for name, points in series.items()),
            )
            for kind, series in by.items()
            if series
        ]

    explains = (
        "Unseen questions, the policy choosing its own actions. 95 % intervals: Wilson's for accuracy, where a question "
        "has several samples with their effective number; the macro average, in which every category weighs the same, has "
        "Wilson's too. Entropy is corrected for small samples after Miller and Madow; "
        f"bootstrap, {_DRAWN}. {scored(run.summaries)} No answer: none was given, or none that can be "
        "read. Calls failed: answers that a failed call of the policy ended, in no figure. n: all others. Differences are paired by "
        "question; their intervals are those of Bonett & Price for accuracy and the bootstrap's for entropy."
    )
    return Panel("headline", "Policies compared", explains, _table(rows), draw, shown)


def categories(run: Material) -> Panel | None:
    """Accuracy per category and policy."""
    if not run.summaries:
        return None
    rows = [row for name in run.summaries for row in _category_rows(run, name)]
    series: dict[str, dict[str, charts.Point]] = {name: {} for name in run.summaries}
    for row in rows:
        series[row["policy"]][row["category"]] = (row["accuracy"], row["accuracy_low"], row["accuracy_high"])

    def draw(prefix: str) -> list[Chart]:
        says = "; ".join(f"{name}: {_extremes(points)}" for name, points in series.items())
        svg = charts.dots(f"{prefix}categories", series, "accuracy", run.policies, percent=True)
        return [Chart(svg, f"Accuracy by category with 95 % intervals. {says}.")]

    explains = (
        "95 % Wilson intervals, with the effective number of answers where a question has several samples. p: McNemar's "
        "exact test against the base, after Holm's correction over the categories; the interval of a change is for itself, "
        "not corrected."
    )
    return Panel("categories", "Accuracy by category", explains, _table(rows), draw)


def _category_rows(run: Material, policy: str) -> Iterator[Row]:
    summary, found = run.summaries[policy], run.comparisons.get(policy)
    for category, right in summary.accuracy_by_category.items():
        tested = found.categories.get(category) if found else None
        yield {
            "policy": policy,
            "category": category,
            "n": summary.n_by_category[category],
            **as_row("accuracy", right),
            **_interval(
                "accuracy_change", *((tested.difference, tested.difference_ci) if tested else (None, (None, None)))
            ),
            "p_holm": tested.p_holm if tested else None,
        }


def tool_mix(run: Material) -> Panel | None:
    """Share of each action per policy."""
    rows = [row for name in run.summaries for row in _mix_rows(run, name)]
    if not rows:
        return None
    series: dict[str, dict[str, charts.Point]] = defaultdict(dict)
    for row in rows:
        series[row["policy"]][row["action"]] = (row["share"], row["share_low"], row["share_high"])

    def draw(prefix: str) -> list[Chart]:
        says = "; ".join(f"{name}: {_extremes(points)}" for name, points in series.items())
        svg = charts.dots(f"{prefix}tool_mix", series, "share of the choices", run.policies, percent=True)
        return [Chart(svg, f"Share of each action with 95 % intervals. {says}.")]

    explains = (
        "Share of each action among the choices; the cot that gives the answer is left out. 95 % intervals: Wilson's, with "
        "the effective number of choices, as those on one question resemble one another."
    )
    return Panel("tool_mix", "Tool mix", explains, _table(rows), draw)


def _mix_rows(run: Material, policy: str) -> Iterator[Row]:
    answers = finished(run.parts("answers")[policy])
    counts = tool_counts(answers["tools"].to_pylist(), answers["question_id"].to_pylist())
    yield from ({"policy": policy, **row} for row in _share_rows(counts))


def _share_rows(counts: NDArray[np.int64]) -> Iterator[Row]:
    """How often each action was chosen, of (questions, actions)."""
    for (action, share), count in zip(tool_shares(counts).items(), counts.sum(0), strict=False):
        yield {"action": action, "count": int(count), **as_row("share", share)}


def tool_mix_by_step(run: Material) -> Panel | None:
    """Share of each action at the first, second, ... choice."""
    rows = [row for name in run.summaries for row in _step_rows(run, name)]
    if not rows:
        return None

    def draw(prefix: str) -> list[Chart]:
        return [
            _step_chart(f"{prefix}by_step.{name}", name, [row for row in rows if row["policy"] == name])
            for name in run.summaries
            if any(row["policy"] == name for row in rows)
        ]

    explains = (
        "Which action is taken first, second and so on, the answering cot left out. Each column adds up to 100 %. 95 % "
        "intervals as for the tool mix."
    )
    return Panel("tool_mix_by_step", "Tool mix by step", explains, _table(rows), draw)


def _step_rows(run: Material, policy: str) -> Iterator[Row]:
    answers = finished(run.parts("answers")[policy])
    taken, questions = answers["tools"].to_pylist(), answers["question_id"].to_pylist()
    for step in range(max(map(len, taken), default=0)):
        counts = tool_counts([tools[step : step + 1] for tools in taken], questions)
        yield from ({"policy": policy, "step": step + 1, **row} for row in _share_rows(counts))


def _step_chart(name: str, policy: str, rows: Sequence[Row]) -> Chart:
    steps = sorted({row["step"] for row in rows})
    shares = {(row["action"], row["step"]): row["share"] for row in rows}
    cells = [[shares[action, step] for step in steps] for action in ACTIONS]
    most = [max(ACTIONS, key=lambda action, step=step: shares[action, step]) for step in steps]  # type: ignore[misc]
    says = ", ".join(f"at step {s} {a} ({shares[a, s]:.0%})" for s, a in zip(steps, most, strict=True))
    svg = charts.grid(name, ACTIONS, [str(step) for step in steps], cells, f"step ({policy})")
    return Chart(svg, f"Tool mix of {policy} by step. Most often taken: {says}.")


# ---- training --------------------------------------------------------------------------------------------------------

_CURVES = {
    "reward": "mean reward, weighted",
    "tool_entropy": "entropy of tool choice, bits",
    "approx_kl": "approx_kl, nats",
    "clip_frac": "share clipped",
    "policy_loss": "policy loss",
}


def training(run: Material) -> Panel | None:
    """The curves of each training."""
    updates = {name: run.parts("updates")[name].to_pylist() for name in run.policies if name in run.parts("updates")}
    if not updates:
        return None
    rows = [{"policy": name, **row} for name, found in updates.items() for row in found]

    def draw(prefix: str) -> list[Chart]:
        drawn = []
        for column, label in _CURVES.items():
            curves = {name: _curve(found, column) for name, found in updates.items()}
            curves = {name: curve for name, curve in curves.items() if curve[0]}
            if curves:
                kind = charts.apart if column == "policy_loss" else charts.lines  # losses are not of one scale
                svg = kind(f"{prefix}training.{column}", curves, label, "update", run.policies)
                said = "; ".join(f"{n} from {y[0]:.4g} to {y[-1]:.4g}" for n, (_, y) in curves.items())
                drawn.append(Chart(svg, f"{label} during training, first to last update: {said}."))
        return drawn

    explains = (
        "One row per optimiser update. Reward: mean over the update's actions, each weighted by how much likelier the policy "
        "now is to take it than the frozen start was. A policy that moves towards what is rewarded raises it; but every update "
        "has other questions, whose rewards differ more than a policy moves in one training, so look at the tables above for "
        "what was learned. SFT has none. Entropy is that of the nine "
        "actions' names in the update's states. approx_kl is the drift from the frozen start; losses of different objectives "
        "cannot be compared with one another."
    )
    return Panel("training", "Training", explains, _table(rows), draw)


def _curve(rows: Sequence[Row], column: str) -> charts.Curve:
    known = [(row["update"], row[column]) for row in rows if row[column] is not None]
    return [x for x, _ in known], [y for _, y in known]


_TERMS = ("quality", "rarity", "correctness")


def rewards(run: Material) -> Panel | None:
    """Mean of each term of the reward per action trained on."""
    credit = {name: run.parts("credit")[name].to_pylist() for name in run.policies if name in run.parts("credit")}
    rows = [row for name, found in credit.items() for row in _reward_rows(name, found)]
    if not rows:
        return None

    def draw(prefix: str) -> list[Chart]:
        drawn = []
        for name in credit:
            paid = [row for row in rows if row["policy"] == name and row["reward"] is not None]
            if paid:
                parts = {term: [row[term] for row in paid] for term in _TERMS}
                svg = charts.bars(
                    f"{prefix}rewards.{name}", [r["action"] for r in paid], parts, f"mean reward ({name})"
                )
                said = "; ".join(f"{r['action']} {r['reward']:.2f}" for r in paid)
                drawn.append(Chart(svg, f"Mean reward of each action under {name}, by term. Sums: {said}."))
        return drawn

    explains = (
        "Means over the actions trained on; a term that an action was not paid counts 0. SFT has no reward. "
        "Advantage is what weighs the action in the loss."
    )
    return Panel("rewards", "Reward terms", explains, _table(rows), draw)


def _reward_rows(policy: str, credit: Sequence[Row]) -> Iterator[Row]:
    kept = [row for row in credit if row["dropped_because"] is None]
    paid = any(row["reward"] is not None for row in kept)
    for action in ACTIONS:
        of = [row for row in kept if row["tool_name"] == action]
        if of:
            means = {term: _mean(of, term) if paid else None for term in (*_TERMS, "reward")}
            yield {"policy": policy, "action": action, "trained": len(of), **means, "advantage": _mean(of, "advantage")}


# ---- diversity and effort ---------------------------------------------------------------------------------------------


def diversity(run: Material) -> Panel | None:
    """Corrected entropy of the choices: in all, per category, per step."""
    rows = [{"policy": name, **row} for name in run.summaries for row in entropies(run.parts("answers")[name])]
    if not rows:
        return None
    series: dict[str, dict[str, charts.Point]] = defaultdict(dict)
    for row in rows:
        if row["entropy_bits_low"] is not None:
            label = {"all": "all", "category": row["group"], "step": f"step {row['group']}"}[row["of"]]
            series[row["policy"]][label] = tuple(row[f"entropy_bits{end}"] for end in ("", "_low", "_high"))

    def draw(prefix: str) -> list[Chart]:
        if not series:
            return []
        svg = charts.dots(f"{prefix}diversity", series, "entropy of tool choice, bits", run.policies)
        says = "; ".join(f"{name} {_shown(points['all'], False)}" for name, points in series.items() if "all" in points)
        return [Chart(svg, f"Entropy of tool choice in all, by category and by step, in bits. In all: {says}.")]

    explains = (
        "Entropy in bits of the actions taken, without the cot that answers, corrected for small samples after Miller and "
        f"Madow: (K - 1) / (2 n ln 2) is added, with K actions seen among n choices. 95 % bootstrap intervals, {_DRAWN}. "
        "Effective tools: 2^entropy, the number of tools that would give this entropy if used equally often. An interval "
        "of no width means that one action alone was seen, not that there never is another."
    )
    return Panel("diversity", "Diversity of tool choice", explains, _table(rows), draw)


def tool_use(run: Material) -> Panel | None:
    """Each action: how often, and how the rollouts with it end."""
    rows = [{"policy": name, **row} for name in run.summaries for row in by_tool(run.parts("answers")[name])]
    if not rows:
        return None

    def draw(prefix: str) -> list[Chart]:
        series: dict[str, dict[str, charts.Point]] = defaultdict(dict)
        for row in rows:
            if row["difference"] is not None:
                ends = tuple(row[f"difference{end}"] for end in ("", "_low", "_high"))
                series[row["policy"]][row["action"]] = ends
        if not series:
            return []
        says = "; ".join(f"{name}: {_extremes(points)}" for name, points in series.items())
        svg = charts.dots(
            f"{prefix}tool_use", series, "accuracy with the action less without", run.policies, percent=True
        )
        return [Chart(svg, f"Accuracy with each action less without it, 95 % intervals. {says}.")]

    explains = (
        "Accuracy of the rollouts that took an action and of those that did not. This is association, not effect: a policy "
        "takes a tool on certain questions, which may be harder or easier. 95 % intervals: Wilson's, with the effective "
        "number of answers where a question has several samples; Newcombe's for the difference; for right answers per use "
        f"a bootstrap, {_DRAWN}, too narrow where uses are few."
    )
    return Panel("tool_use", "Right answers with and without each tool", explains, _table(rows), draw)


_LABELS = {
    "distinct_tools_per_question": "different tools per question",
    "calls_per_question": "tool calls per question",
    "failed_share_of_calls": "share of tool calls that failed",
    "unreadable_share_of_turns": "share of turns that could not be read",
    "right_answers_per_call": "right answers per tool call",
    "calls_per_right_answer": "tool calls per right answer",
    "tokens_per_question": "sampled tokens per question",
    "tokens_per_right_answer": "sampled tokens per right answer",
    "prompt_tokens_per_question": "prompt tokens per question",
    "usd_per_right_answer": "US dollars per right answer",
    "same_question_differs": "pairs that begin with different tools: same question",
    "other_question_differs": "pairs that begin with different tools: two questions",
    "entropy_within_question_bits": "entropy of the first tool given the question, bits",
    "mutual_information_bits": "mutual information of question and first tool, bits",
    "majority_vote": "majority vote of the samples, ties to the first given",
}


def effort(run: Material) -> Panel | None:
    """What the policies do per question and what a right answer costs; with several samples, what these are worth."""
    of = {name: measures(run.parts("answers")[name]) for name in run.summaries}
    if not of:
        return None
    rows = [
        {"policy": name, "measure": m, **as_row("value", e)} for name, found in of.items() for m, e in found.items()
    ]
    names = list(dict.fromkeys(row["measure"] for row in rows if row["value"] is not None))
    shown = tuple(
        {"measure": _LABELS.get(m, m), **{name: _told(found.get(m)) for name, found in of.items()}} for m in names
    )
    return Panel("effort", "Calls, tokens and samples", _explained(of), _table(rows), shown=shown)


def _explained(of: Mapping[str, Mapping[str, Estimate | None]]) -> str:
    start = (
        f"95 % bootstrap intervals, {_DRAWN}; of the shares of calls and of turns Wilson's, with their effective number. "
        "Per question: of one sample of it. A call is that of a tool; cot calls nothing. Prompt tokens: of the prompts of "
        "all turns. Dollars are known where eval.usd_per_million_tokens says what tokens cost, but not of replies remembered "
        "from before prompts were counted; without tools and judge. "
    )
    if not any(found["same_question_differs"] for found in of.values()):
        return start + (
            "Whether one question gets different tools, or only different questions do, cannot be told from one sample "
            "of each; eval.samples=2 or more tells, and gives pass@k and the majority vote."
        )
    return start + (
        "Pairs: two samples of one question, or of two; if the tool depended on the question alone, no pair of the same "
        "question would differ, and if it did not depend on it at all, as many as of two questions. Only first choices, "
        "before which nothing differs. Entropy given the question is corrected after Chao and Shen; of few "
        "samples it stays too low, and the mutual information too high. The pairs are not biased so. pass@k: the probability that one of k "
        "samples is right, without bias (Chen et al. 2021)."
    )


def _told(found: Estimate | None) -> str:
    return f"{found.value:.3g} ({found.low:.3g} to {found.high:.3g})" if found else "cannot be told"


# ---- rollouts --------------------------------------------------------------------------------------------------------


def rounds(run: Material) -> Panel | None:
    """How the rollouts went, step by step."""
    rows = [row for step in run.parts("candidates") if (row := _round(run, step))]
    if not rows:
        return None
    explains = (
        "One round is one step of all rollouts that go on. Not judged: failed calls, never counted as 0. Lost: of those that "
        "ended, by failed calls of the policy or the judge, neither right nor wrong."
    )
    return Panel("rounds", "Rounds of the rollouts", explains, _table(rows))


def _round(run: Material, part: str) -> Row:
    scores = run.parts("scores").get(part)
    steps = run.parts("steps").get(part)
    taken = steps.to_pylist() if steps else []
    given = [score for score in scores["score"].to_pylist() if score is not None] if scores else []
    return {
        "step": int(part),
        "candidates": len(run.parts("candidates")[part]),
        "not_judged": len(scores) - len(given) if scores else None,
        "mean_score": sum(given) / len(given) if given else None,
        "rollouts": len(taken) if steps else None,
        "mean_score_taken": _mean([r for r in taken if r["chosen_score"] is not None], "chosen_score"),
        "none_viable": sum(not row["viable"] for row in taken) if steps else None,
        "ended": sum(row["done"] for row in taken) if steps else None,
        "right": sum(row["is_correct"] is True for row in taken) if steps else None,
        "lost": sum(row["done"] and row["is_correct"] is None for row in taken) if steps else None,
    }


_EDGES = (0, 2, 4, 6, 8, 10)


def judged_outcomes(run: Material) -> Panel | None:
    """Whether rollouts that the judge scored higher end right more often."""
    ended = _ended(run)
    of = {
        "all steps": [(np.mean(scores), right) for scores, right in ended if scores],
        "before the last step": [(np.mean(scores[:-1]), right) for scores, right in ended if len(scores) > 1],
    }
    rows = [row for name, pairs in of.items() for row in _binned(name, pairs)]
    if not rows:
        return None
    ordered = {row["scores_of"]: row["pairs_ordered"] for row in rows}
    said = "; ".join(f"{name}: {'not known' if p is None else f'{p:.0%}'}" for name, p in ordered.items())

    def draw(prefix: str) -> list[Chart]:
        series: dict[str, dict[str, charts.Point]] = defaultdict(dict)
        for row in sorted(rows, key=lambda row: row["mean_score"]):
            series[row["scores_of"]][row["mean_score"]] = (row["right"], row["right_low"], row["right_high"])
        svg = charts.dots(f"{prefix}judged", series, "rollouts that ended right, by mean score", percent=True)
        told = "; ".join(
            f"{row['scores_of']}, {row['mean_score']}: {row['right']:.0%} of {row['rollouts']}" for row in rows
        )
        return [Chart(svg, f"Share of rollouts that ended right by the mean score of their actions. {told}.")]

    explains = (
        "Rollouts that ended, by the mean judge score of the actions taken; 95 % Wilson intervals. How often a right rollout "
        f"is scored above a wrong one, ties counted half (50 % is chance): {said}. The last step is usually the answer itself."
    )
    return Panel("judged_outcomes", "Judge scores against outcome", explains, _table(rows), draw)


def _ended(run: Material) -> list[tuple[list[float], bool]]:
    """Of each rollout that ended, but not by an outage: the scores of its actions in order, without those not judged;
    whether it is right."""
    scores: dict[str, list[float]] = defaultdict(list)
    right: dict[str, bool] = {}
    for row in sorted(run.joined("steps"), key=lambda row: row["step_idx"]):
        if row["chosen_score"] is not None:
            scores[row["rollout_id"]].append(row["chosen_score"])
        if row["done"] and row["is_correct"] is not None:
            right[row["rollout_id"]] = row["is_correct"]
    return [(scores[rollout], correct) for rollout, correct in right.items()]


def _binned(name: str, pairs: Sequence[tuple[Any, bool]]) -> Iterator[Row]:
    if not pairs:
        return
    means, right = np.array([mean for mean, _ in pairs]), np.array([correct for _, correct in pairs])
    ordered = _pairs_ordered(means[right], means[~right])
    bins = np.minimum(np.digitize(means, _EDGES[1:]), len(_EDGES) - 2)
    for i in np.unique(bins):
        n, hits = int((bins == i).sum()), int(right[bins == i].sum())
        yield {
            "scores_of": name,
            "mean_score": f"{_EDGES[i]}-{_EDGES[i + 1]}",
            "rollouts": n,
            **_interval("right", hits / n, wilson(hits, n)),
            "pairs_ordered": ordered,
        }


def _pairs_ordered(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> float | None:
    """Share of (right, wrong) pairs in which the right one is scored higher, ties counted half: the area under the ROC
    curve. None where there is no pair."""
    if not len(right) or not len(wrong):
        return None
    wrong = np.sort(wrong)
    below, upto = np.searchsorted(wrong, right), np.searchsorted(wrong, right, side="right")
    return float((below + upto).sum() / 2 / (len(right) * len(wrong)))


# ---- cost and provenance ---------------------------------------------------------------------------------------------


def cost(run: Material) -> Panel | None:
    """Time, calls and price per stage."""
    records = [record for record in run.records if "node" in record]
    rows = [_stage_cost(run, stage, records) for stage in _stages(run, records)]
    if not rows:
        return None
    timed = [row for row in rows if row["seconds"] is not None]

    def draw(prefix: str) -> list[Chart]:
        if not timed:
            return []
        stages, seconds = [row["stage"] for row in timed], [row["seconds"] for row in timed]
        said = "; ".join(f"{stage} {spent:.1f}" for stage, spent in zip(stages, seconds, strict=True))
        return [
            Chart(charts.bars(f"{prefix}cost", stages, {"seconds": seconds}, "seconds"), f"Seconds per stage: {said}.")
        ]

    judged = next((row for row in rows if row["stage"] == "judge"), None)
    price, unknown = (judged["usd"] or 0.0, judged["price_unknown"] or 0) if judged else (0.0, 0)
    explains = (
        f"Judge's calls: {price:.2f} US dollars"
        + (f", and {unknown} candidates whose price is unknown, which is not nothing" if unknown else "")
        + ". What tools and the policy's own rollouts cost is not recorded; what its evaluation costs is known where "
        "eval.usd_per_million_tokens says what tokens cost. Seconds: of the latest making of each table; in all: of every "
        "making in this run. No figure: made in another run. Remembered: calls that were answered from memory."
    )
    return Panel("cost", "Cost and time per stage", explains, _table(rows), draw)


def _stages(run: Material, records: Sequence[Row]) -> list[str]:
    made = [str(of["stage"]) for of in run.provenance.values() if "stage" in of]
    found = {*made, *(record["node"].partition(".")[0] for record in records)}
    order = ("questions", "eval_questions", "synth", "judge", "select", "reference", "train", "eval")
    return sorted(found, key=lambda stage: (order.index(stage) if stage in order else len(order), stage))


def _stage_cost(run: Material, stage: str, records: Sequence[Row]) -> Row:
    mine = [record for record in records if record["node"].partition(".")[0] == stage]
    latest = {record["node"]: record for record in mine}
    row: Row = {
        "stage": stage,
        "seconds": sum(r.get("seconds", 0.0) for r in latest.values()) if mine else None,
        "seconds_in_all": sum(r.get("seconds", 0.0) for r in mine) if mine else None,
        "calls": sum(r.get("asked", 0) for r in mine) if mine else None,
        "remembered": sum(r.get("remembered", 0) for r in mine) if mine else None,
        "usd": None,
        "price_unknown": None,
    }
    if made := run.parts({"judge": "scores", "eval": "answers"}.get(stage, "")):
        prices = [price for part in made.values() for price in part["cost_usd"].to_pylist()]
        known = [price for price in prices if price is not None]
        if known or stage == "judge":  # nobody need say what evaluation costs
            row |= {"usd": sum(known) if known else None, "price_unknown": len(prices) - len(known)}
    return row


def provenance(run: Material) -> Panel | None:
    """What every artifact was made of."""
    rows = [
        {
            "artifact": artifact,
            "file": file,
            "stage": of.get("stage"),
            "version": of.get("version"),
            "seed": of.get("settings", {}).get("seed"),
            "inputs": _digests(of.get("inputs", {})),
            "identities": _digests({name: [found] for name, found in of.get("identities", {}).items()}),
            "settings": json.dumps(of.get("settings", {}), sort_keys=True, ensure_ascii=False),
        }
        for artifact, file in run.files.items()
        for of in [run.provenance.get(artifact, {})]
    ]
    if not rows:
        return None
    explains = (
        "Every artifact of this run: its file in the store, whose name ends in its key, the stage's version, the seed, and "
        "the digests of its inputs and of what else decides it. The files have these whole; on the page they are cut to "
        "twelve digits, and pointing at them shows the rest."
    )
    shown = tuple({name: _cut(value) for name, value in row.items() if name != "settings"} for row in rows)
    return Panel("provenance", "Provenance", explains, _table(rows), shown=shown)


def _digests(inputs: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name} {' '.join(found)}" for name, found in sorted(inputs.items()))


def _cut(value: Any) -> Any:
    """With its digests cut, where it has any."""
    short = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", value) if isinstance(value, str) else value
    return value if short == value else Cut(short, value)


# ---- shared ----------------------------------------------------------------------------------------------------------

_PANELS: tuple[Callable[[Material], Panel | None], ...] = (
    headline,
    categories,
    tool_mix,
    tool_mix_by_step,
    diversity,
    tool_use,
    effort,
    training,
    rewards,
    rounds,
    judged_outcomes,
    cost,
    provenance,
)


def _table(rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows))


def _interval(name: str, value: float | None, interval: tuple[float, float] | tuple[None, None]) -> Row:
    return {name: value, f"{name}_low": interval[0], f"{name}_high": interval[1]}


def _against_base(found: Comparison | None) -> Row:
    if found is None:
        nothing = _interval("accuracy_change", None, (None, None)) | {"accuracy_p": None}
        return nothing | _interval("entropy_change_bits", None, (None, None)) | {"in_words": None}
    accuracy, entropy = found.accuracy, found.tool_entropy_bits
    return {
        **_interval("accuracy_change", accuracy.difference, accuracy.difference_ci),
        "accuracy_p": accuracy.p,
        **_interval("entropy_change_bits", entropy.difference, entropy.difference_ci or (None, None)),
        "in_words": in_words(found),
    }


def _words(found: Comparison | None) -> str:
    if found is None:
        return ""
    accuracy, entropy = found.accuracy, found.tool_entropy_bits
    bits = "" if entropy.difference is None else f", {entropy.difference:+.2f} bits"
    return f"{accuracy.difference * 100:+.1f} points{bits}; {in_words(found)}"


def _mean(rows: Sequence[Row], name: str) -> float | None:
    return sum(row[name] or 0.0 for row in rows) / len(rows) if rows else None


def _shown(point: charts.Point, percent: bool) -> str:
    value, low, high = (f"{p:.1%}" if percent else f"{p:.2f}" for p in point)
    return f"{value} ({low} to {high})"


def _extremes(points: Mapping[str, charts.Point]) -> str:
    least, most = min(points, key=lambda k: points[k][0]), max(points, key=lambda k: points[k][0])
    return f"lowest {least} ({points[least][0]:.1%}), highest {most} ({points[most][0]:.1%})"
