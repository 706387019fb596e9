"""Parts of the report about the evaluation: headline, categories, choice of tools."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import astuple

import numpy as np
from numpy.typing import NDArray

from sparkctl.method.episode import ACTIONS
from sparkctl.report import charts
from sparkctl.report.figures.comparison import Comparison
from sparkctl.report.figures.diversity import as_row
from sparkctl.report.figures.entropy import tool_counts
from sparkctl.report.figures.finished import finished
from sparkctl.report.figures.summary import percent, tool_shares
from sparkctl.report.figures.verdict import in_words, scored
from sparkctl.report.panels.panel import DRAWN, Chart, Panel, Row, extremes, shown_point, table_of, with_interval
from sparkctl.report.run_tables import Material


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
                + "; ".join(
                    f"{name} {shown_point(points[name], kind == 'accuracy')}" for name, points in series.items()
                ),
            )
            for kind, series in by.items()
            if series
        ]

    explains = (
        "Unseen questions, the policy choosing its own actions. 95 % intervals: Wilson's for accuracy, where a question "
        "has several samples with their effective number; the macro average, in which every category weighs the same, has "
        "Wilson's too. Entropy is corrected for small samples after Miller and Madow; "
        f"bootstrap, {DRAWN}. {scored(run.summaries)} No answer: none was given, or none that can be "
        "read. Calls failed: answers that a failed call of the policy ended, in no figure. n: all others. Differences are paired by "
        "question; their intervals are those of Bonett & Price for accuracy and the bootstrap's for entropy."
    )
    return Panel("headline", "Policies compared", explains, table_of(rows), draw, shown)


def categories(run: Material) -> Panel | None:
    """Accuracy per category and policy."""
    if not run.summaries:
        return None
    rows = [row for name in run.summaries for row in _category_rows(run, name)]
    series: dict[str, dict[str, charts.Point]] = {name: {} for name in run.summaries}
    for row in rows:
        series[row["policy"]][row["category"]] = (row["accuracy"], row["accuracy_low"], row["accuracy_high"])

    def draw(prefix: str) -> list[Chart]:
        says = "; ".join(f"{name}: {extremes(points)}" for name, points in series.items())
        svg = charts.dots(f"{prefix}categories", series, "accuracy", run.policies, percent=True)
        return [Chart(svg, f"Accuracy by category with 95 % intervals. {says}.")]

    explains = (
        "95 % Wilson intervals, with the effective number of answers where a question has several samples. p: McNemar's "
        "exact test against the base, after Holm's correction over the categories; the interval of a change is for itself, "
        "not corrected."
    )
    return Panel("categories", "Accuracy by category", explains, table_of(rows), draw)


def _category_rows(run: Material, policy: str) -> Iterator[Row]:
    summary, found = run.summaries[policy], run.comparisons.get(policy)
    for category, right in summary.accuracy_by_category.items():
        tested = found.categories.get(category) if found else None
        yield {
            "policy": policy,
            "category": category,
            "n": summary.n_by_category[category],
            **as_row("accuracy", right),
            **with_interval(
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
        says = "; ".join(f"{name}: {extremes(points)}" for name, points in series.items())
        svg = charts.dots(f"{prefix}tool_mix", series, "share of the choices", run.policies, percent=True)
        return [Chart(svg, f"Share of each action with 95 % intervals. {says}.")]

    explains = (
        "Share of each action among the choices; the cot that gives the answer is left out. 95 % intervals: Wilson's, with "
        "the effective number of choices, as those on one question resemble one another."
    )
    return Panel("tool_mix", "Tool mix", explains, table_of(rows), draw)


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
    return Panel("tool_mix_by_step", "Tool mix by step", explains, table_of(rows), draw)


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


def _against_base(found: Comparison | None) -> Row:
    if found is None:
        nothing = with_interval("accuracy_change", None, (None, None)) | {"accuracy_p": None}
        return nothing | with_interval("entropy_change_bits", None, (None, None)) | {"in_words": None}
    accuracy, entropy = found.accuracy, found.tool_entropy_bits
    return {
        **with_interval("accuracy_change", accuracy.difference, accuracy.difference_ci),
        "accuracy_p": accuracy.p,
        **with_interval("entropy_change_bits", entropy.difference, entropy.difference_ci or (None, None)),
        "in_words": in_words(found),
    }


def _words(found: Comparison | None) -> str:
    if found is None:
        return ""
    accuracy, entropy = found.accuracy, found.tool_entropy_bits
    bits = "" if entropy.difference is None else f", {entropy.difference:+.2f} bits"
    return f"{accuracy.difference * 100:+.1f} points{bits}; {in_words(found)}"
