"""Parts of the report about diversity: entropies, what tools were used for, effort."""

from collections import defaultdict
from collections.abc import Mapping

from sparkctl.report import charts
from sparkctl.report.figures.diversity import as_row, by_tool, entropies, measures
from sparkctl.report.figures.statistics import Estimate
from sparkctl.report.panels.panel import DRAWN, Chart, Panel, extremes, shown_point, table_of
from sparkctl.report.run_tables import Material


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
        says = "; ".join(
            f"{name} {shown_point(points['all'], False)}" for name, points in series.items() if "all" in points
        )
        return [Chart(svg, f"Entropy of tool choice in all, by category and by step, in bits. In all: {says}.")]

    explains = (
        "Entropy in bits of the actions taken, without the cot that answers, corrected for small samples after Miller and "
        f"Madow: (K - 1) / (2 n ln 2) is added, with K actions seen among n choices. 95 % bootstrap intervals, {DRAWN}. "
        "Effective tools: 2^entropy, the number of tools that would give this entropy if used equally often. An interval "
        "of no width means that one action alone was seen, not that there never is another."
    )
    return Panel("diversity", "Diversity of tool choice", explains, table_of(rows), draw)


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
        says = "; ".join(f"{name}: {extremes(points)}" for name, points in series.items())
        svg = charts.dots(
            f"{prefix}tool_use", series, "accuracy with the action less without", run.policies, percent=True
        )
        return [Chart(svg, f"Accuracy with each action less without it, 95 % intervals. {says}.")]

    explains = (
        "Accuracy of the rollouts that took an action and of those that did not. This is association, not effect: a policy "
        "takes a tool on certain questions, which may be harder or easier. 95 % intervals: Wilson's, with the effective "
        "number of answers where a question has several samples; Newcombe's for the difference; for right answers per use "
        f"a bootstrap, {DRAWN}, too narrow where uses are few."
    )
    return Panel("tool_use", "Right answers with and without each tool", explains, table_of(rows), draw)


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
    return Panel("effort", "Calls, tokens and samples", _explained(of), table_of(rows), shown=shown)


def _explained(of: Mapping[str, Mapping[str, Estimate | None]]) -> str:
    start = (
        f"95 % bootstrap intervals, {DRAWN}; of the shares of calls and of turns Wilson's, with their effective number. "
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
