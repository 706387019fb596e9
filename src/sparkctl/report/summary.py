"""Summary statistics of answers: accuracy, and how diverse the choice of tools is, with 95 % intervals.

The entropy of tool choice is over the whole evaluation (`entropy.py`). The interval of accuracy is Wilson's, for an
effective number of answers where there are several to a question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sparkctl.episode import ACTIONS, parse_turn, read_answer
from sparkctl.report.entropy import entropy, tool_counts
from sparkctl.report.statistics import Interval, proportion


@dataclass(frozen=True)
class Summary:
    """One policy's evaluation."""

    accuracy: float
    accuracy_ci: Interval
    tool_entropy_bits: float
    tool_entropy_ci: Interval
    n: int
    accuracy_macro: float
    """Mean of the categories' accuracies."""
    extraction_failed: int
    """Answers that were not given or could not be read, failed calls included; they count as wrong, but for a guess of
    official scoring that hit."""
    named_no_option: int
    """Of these, those that the policy committed to, but that name no option."""
    errors: int
    failed_calls: int
    unreadable_turns: int | None
    """None for tables that do not count them by themselves."""
    steps_per_question: float
    tool_share: dict[str, float]
    """Action -> share of the choices; empty where none was made."""
    accuracy_by_category: dict[str, float]

    def shown(self) -> dict[str, str]:
        """The headline's cells for people: column -> text."""
        (low, high), (least, most) = self.accuracy_ci, self.tool_entropy_ci
        return {
            "accuracy, %": f"{self.accuracy * 100:.1f} ({low * 100:.1f}-{high * 100:.1f})",
            "entropy, bits": f"{self.tool_entropy_bits:.2f} ({least:.2f}-{most:.2f})",
            "no answer": str(self.extraction_failed),
            "steps": f"{self.steps_per_question:.2f}",
            "n": str(self.n),
        }

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def summarise(answers: pa.Table) -> Summary:
    """The summary of an answers table of one policy."""
    correct = np.array(answers["is_correct"].to_pylist(), dtype=bool)
    rows, questions, unreadable = answers.to_pylist(), answers["question_id"].to_pylist(), answers["unreadable_turns"]
    right = proportion(*right_and_asked(questions, correct))
    assert right is not None, "a table of answers has rows"
    counts = tool_counts(answers["tools"].to_pylist(), questions)
    choice, total = entropy(counts), counts.sum(0)
    categories = np.array(answers["category"].to_pylist())
    by_category = {str(c): float(correct[categories == c].mean()) for c in sorted(set(categories))}
    return Summary(
        accuracy=right.value,
        accuracy_ci=(right.low, right.high),
        tool_entropy_bits=choice.value,
        tool_entropy_ci=(choice.low, choice.high),
        n=len(correct),
        accuracy_macro=float(np.mean(list(by_category.values()))),
        extraction_failed=sum(map(_unread, rows)),
        named_no_option=sum(map(_names_no_option, rows)),
        errors=len(answers) - answers["error"].null_count,
        failed_calls=sum(answers["failed_calls"].to_pylist()),
        unreadable_turns=None if unreadable.null_count else sum(unreadable.to_pylist()),
        steps_per_question=float(np.mean(answers["steps"].to_pylist())),
        tool_share={a: float(c / total.sum()) for a, c in zip(ACTIONS, total, strict=True)} if total.sum() else {},
        accuracy_by_category=by_category,
    )


def _unread(row: Mapping[str, Any]) -> bool:
    """Whether no rule read the answer of an answers row: there is no letter, or it is a guess."""
    return row["answer"] is None or row["extracted_by"] == "guess"


def _names_no_option(row: Mapping[str, Any]) -> bool:
    """Whether the last turn of an answers row ends in an answer that is none of the options."""
    turn = parse_turn(row["output"])
    return _unread(row) and read_answer(turn.tool_name, turn.action_query) is not None


def right_and_asked(questions: Sequence[int], correct: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """By question: how many of its answers are right, and how many there are."""
    row = np.unique(questions, return_inverse=True)[1]
    return np.bincount(row, correct), np.bincount(row)
