"""What a run says in the terminal: the headline table, the tool mix, the time per stage, where the files are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table

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
