"""Summary statistics of answers: accuracy, and how diverse the choice of tools is, with 95 % intervals.

The entropy of tool choice is over the whole evaluation (`entropy.py`). The interval of accuracy is Wilson's, for an
effective number of answers where there are several to a question. All is of the answers that no failed call ended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sparkctl.errors import SparkError
from sparkctl.method.episode import ACTIONS, parse_turn, read_answer
from sparkctl.report.figures.entropy import entropy, tool_counts
from sparkctl.report.figures.finished import finished
from sparkctl.report.figures.statistics import Array, Estimate, macro_average, proportion


@dataclass(frozen=True)
class Summary:
    """One policy's evaluation."""

    n: int
    """Answers that count: those that were not given too, but not those that a failed call ended."""
    scoring: str
    """How answers were read: strict, or official (see `reading`)."""
    accuracy: Estimate
    """The micro average: of all answers."""
    accuracy_macro: Estimate
    """Mean of the categories' accuracies."""
    tool_entropy_bits: Estimate | None
    """None where no action was chosen."""
    extraction_failed: int
    """Answers that were not given or could not be read; they count as wrong, but for a guess of official scoring that
    hit."""
    named_no_option: int
    """Of these, those that the policy committed to, but that name no option."""
    errors: int
    """Answers that a failed call of the policy ended: in none of the other figures."""
    failed_calls: int
    unreadable_turns: int | None
    """None for tables that do not count them by themselves."""
    steps_per_question: float
    tool_share: dict[str, Estimate]
    """Action -> share of the choices; empty where none was made."""
    accuracy_by_category: dict[str, Estimate]
    n_by_category: dict[str, int]

    def shown(self) -> dict[str, str]:
        """The headline's cells for people: column -> text."""
        bits = self.tool_entropy_bits
        return {
            "accuracy, %": percent(self.accuracy),
            "entropy, bits": f"{bits.value:.2f} ({bits.low:.2f}-{bits.high:.2f})" if bits else "no choices",
            "no answer": str(self.extraction_failed),
            "steps": f"{self.steps_per_question:.2f}",
            "n": str(self.n),
        }

    def as_json(self) -> dict[str, Any]:
        """For programs: an estimate is its value, and `..._ci` its interval."""
        found = dict(vars(self))
        for name in ("accuracy", "accuracy_macro", "tool_entropy_bits"):
            one: Estimate | None = found[name]
            found |= {name: one and one.value, _ends(name): one and [one.low, one.high]}
        for name in ("tool_share", "accuracy_by_category"):
            of: dict[str, Estimate] = found[name]
            found |= {
                name: {k: e.value for k, e in of.items()},
                _ends(name): {k: [e.low, e.high] for k, e in of.items()},
            }
        return found


def _ends(name: str) -> str:
    return name.removesuffix("_bits") + "_ci"


def percent(share: Estimate, digits: int = 1) -> str:
    """A share with its interval, in per cent."""
    return f"{share.value * 100:.{digits}f} ({share.low * 100:.{digits}f}-{share.high * 100:.{digits}f})"


def summarise(answers: pa.Table) -> Summary:
    """The summary of an answers table of one policy; a SparkError where failed calls ended all of them."""
    given, answers = len(answers), finished(answers)
    if not len(answers):
        raise SparkError(f"answers: a failed call ended each of {given}; `sparkctl eval --retry-failed` asks again")
    correct = np.array(answers["is_correct"].to_pylist(), dtype=bool)
    questions = answers["question_id"].to_numpy()
    counts = tool_counts(answers["tools"].to_pylist(), questions.tolist())
    rows, unreadable = answers.to_pylist(), answers["unreadable_turns"]
    categories = np.array(answers["category"].to_pylist())
    of = {str(category): categories == category for category in np.unique(categories)}
    counted = {category: right_and_asked(questions[these], correct[these]) for category, these in of.items()}
    return Summary(
        n=len(correct),
        scoring="official" if {"official", "guess"} & set(answers["extracted_by"].to_pylist()) else "strict",
        accuracy=_share(right_and_asked(questions, correct)),
        accuracy_macro=macro_average(list(counted.values())),
        tool_entropy_bits=entropy(counts),
        extraction_failed=sum(map(_unread, rows)),
        named_no_option=sum(map(_names_no_option, rows)),
        errors=given - len(answers),
        failed_calls=sum(answers["failed_calls"].to_pylist()),
        unreadable_turns=None if unreadable.null_count else sum(unreadable.to_pylist()),
        steps_per_question=float(np.mean(answers["steps"].to_pylist())),
        tool_share=tool_shares(counts),
        accuracy_by_category={category: _share(part) for category, part in counted.items()},
        n_by_category={category: int(asked.sum()) for category, (_, asked) in counted.items()},
    )


def tool_shares(counts: Array) -> dict[str, Estimate]:
    """Action -> its share of the choices, (questions, actions); empty where none was made."""
    shares = {action: proportion(taken, counts.sum(1)) for action, taken in zip(ACTIONS, counts.T, strict=True)}
    return {action: share for action, share in shares.items() if share is not None}


def _share(right_and_asked: tuple[Array, Array]) -> Estimate:
    found = proportion(*right_and_asked)
    assert found is not None, "a table of answers has rows"
    return found


def _unread(row: Mapping[str, Any]) -> bool:
    """Whether no rule read the answer of an answers row: there is no letter, or it is a guess."""
    return row["answer"] is None or row["extracted_by"] == "guess"


def _names_no_option(row: Mapping[str, Any]) -> bool:
    """Whether the last turn of an answers row ends in an answer that is none of the options."""
    turn = parse_turn(row["output"])
    return _unread(row) and read_answer(turn.tool_name, turn.action_query) is not None


def right_and_asked(questions: Array | Sequence[int], correct: Array) -> tuple[Array, Array]:
    """By question: how many of its answers are right, and how many there are."""
    row = np.unique(questions, return_inverse=True)[1]
    return np.bincount(row, correct), np.bincount(row)
