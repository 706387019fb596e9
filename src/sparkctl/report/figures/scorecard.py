"""What a file of scored outputs amounts to: accuracy with 95 % intervals, in all and per category.

Several outputs of a question are no further questions: intervals are Wilson's for the effective number of outputs.
Outputs that are missing because a call failed (`is_correct` is null) are counted apart, and in no other figure.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparkctl.errors import SparkError
from sparkctl.report.figures.statistics import Array, Estimate, Interval, macro_average, proportion
from sparkctl.report.figures.summary import right_and_asked


@dataclass(frozen=True)
class Share:
    """How many of `n` outputs that count are right, and of how many no answer could be read."""

    n: int
    questions: int
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
    macro: Estimate | None
    """Mean of the categories' accuracies; None without categories. (The micro average is `overall.accuracy`.)"""
    errors: int
    """Outputs that failed calls left out."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        overall, macro = vars(self.overall), self.macro
        return {
            **{name: overall[name] for name in ("n", "questions", "extraction_failed", "guessed_right")},
            "errors": self.errors,
            "micro": overall["accuracy"],
            "micro_ci": overall["accuracy_ci"],
            "macro": macro and macro.value,
            "macro_ci": macro and (macro.low, macro.high),
            "categories": {name: vars(share) for name, share in self.categories.items()},
        }


def scorecard(scored: pa.Table) -> Scorecard:
    """The scorecard of a table with `question_id`, `answer_read`, `is_correct` and, maybe, `category`; a SparkError where
    every call failed."""
    given, scored = len(scored), scored.filter(pc.is_valid(scored["is_correct"]))
    if not len(scored):
        raise SparkError(f"column 'error': each of {given} calls failed; there is nothing to score")
    names = sorted(pc.unique(scored["category"]).to_pylist()) if "category" in scored.column_names else []
    parts = {name: scored.filter(pc.equal(scored["category"], name)) for name in names}
    macro = macro_average([_counts(part) for part in parts.values()]) if parts else None
    shares = {name: _share(part) for name, part in parts.items()}
    return Scorecard(_share(scored), shares, macro, given - len(scored))


def _counts(scored: pa.Table) -> tuple[Array, Array]:
    return right_and_asked(scored["question_id"].to_pylist(), np.array(scored["is_correct"].to_pylist(), dtype=bool))


def _share(scored: pa.Table) -> Share:
    right, asked = _counts(scored)
    found = proportion(right, asked)
    assert found is not None, "a scored table has rows"
    unread = scored.filter(pc.is_null(scored["answer_read"]))
    guessed = sum(unread["is_correct"].to_pylist())
    return Share(len(scored), len(asked), found.value, (found.low, found.high), len(unread), guessed)
