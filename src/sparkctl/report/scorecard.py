"""What a file of scored outputs amounts to: accuracy with 95 % Wilson intervals, in all and per category."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sparkctl.report.statistics import Interval, wilson


@dataclass(frozen=True)
class Share:
    """How many of `n` outputs are right, and of how many no answer could be read."""

    n: int
    accuracy: float
    accuracy_ci: Interval
    extraction_failed: int
    guessed_right: int
    """Right although nothing was read: what the guess of official scoring gives away. 0 in strict mode."""


@dataclass(frozen=True)
class Scorecard:
    """A scored file. Outputs that cannot be read count as wrong, unless a guess hit."""

    overall: Share
    categories: dict[str, Share]
    """Empty where the file has no categories."""

    @property
    def macro(self) -> float | None:
        """Mean of the categories' accuracies; None without categories. (The micro average is `overall.accuracy`.)"""
        shares = [share.accuracy for share in self.categories.values()]
        return sum(shares) / len(shares) if shares else None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        overall = vars(self.overall)
        named = {"micro": overall["accuracy"], "micro_ci": overall["accuracy_ci"], "macro": self.macro}
        rest = {name: overall[name] for name in ("n", "extraction_failed", "guessed_right")}
        return rest | named | {"categories": {name: vars(share) for name, share in self.categories.items()}}


def scorecard(scored: pa.Table) -> Scorecard:
    """The scorecard of a table with `answer_read`, `is_correct` and, maybe, `category`."""
    rows = scored.to_pylist()
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    if "category" in scored.column_names:
        for row in rows:
            groups[row["category"]].append(row)
    return Scorecard(_share(rows), {name: _share(groups[name]) for name in sorted(groups)})


def _share(rows: list[dict[str, Any]]) -> Share:
    right = sum(row["is_correct"] for row in rows)
    unread = [row for row in rows if row["answer_read"] is None]
    return Share(
        len(rows), right / len(rows), wilson(right, len(rows)), len(unread), sum(r["is_correct"] for r in unread)
    )
