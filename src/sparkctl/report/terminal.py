"""What a run says in the terminal: the headline table, the tool mix, the time per stage, where the files are."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from sparkctl.episode import ACTIONS
from sparkctl.report.summary import Summary

NANO_SAYS = (
    "nano shows that the method works as described, on a policy of under 1 M parameters and generated questions. "
    "It says nothing about how large models behave."
)


def headline(console: Console, summaries: Mapping[str, Summary]) -> None:
    """Accuracy and tool-choice entropy per policy, with 95 % intervals; it fits 80 columns."""
    table = Table(title="Policies on unseen questions (95 % intervals)", title_justify="left")
    table.add_column("policy", no_wrap=True)
    for name in ("accuracy, %", "entropy, bits", "no answer", "steps", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, s in summaries.items():
        table.add_row(
            name,
            f"{s.accuracy * 100:.1f} ({s.accuracy_ci[0] * 100:.1f}-{s.accuracy_ci[1] * 100:.1f})",
            f"{s.tool_entropy_bits:.2f} ({s.tool_entropy_ci[0]:.2f}-{s.tool_entropy_ci[1]:.2f})",
            str(s.unanswered),
            f"{s.steps_per_question:.2f}",
            str(s.n),
        )
    console.print(table)


def tool_mix(console: Console, summaries: Mapping[str, Summary]) -> None:
    """Share of each action among the choices, per policy."""
    rows = {action: [s.tool_share.get(action) for s in summaries.values()] for action in ACTIONS}
    _shares(console, "Tool mix (share of choices, the answering cot left out)", "action", list(summaries), rows)


def categories(console: Console, summaries: Mapping[str, Summary]) -> None:
    """Accuracy per category and policy."""
    names = sorted({c for s in summaries.values() for c in s.accuracy_by_category})
    rows = {name: [s.accuracy_by_category.get(name) for s in summaries.values()] for name in names}
    _shares(console, "Accuracy by category", "category", list(summaries), rows)


def _shares(
    console: Console, title: str, first: str, policies: Sequence[str], rows: Mapping[str, Sequence[float | None]]
) -> None:
    """A table of percentages, one column per policy."""
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in policies:
        table.add_column(name, justify="right")
    for name, shares in rows.items():
        table.add_row(name, *("" if share is None else f"{share:.1%}" for share in shares))
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
