"""Two policies on the same questions: what differs in accuracy and in the choice of tools, and what may be chance.

All differences are b less a. Accuracy is judged by McNemar's exact test over questions, per category after Holm's
correction; where a question has several samples, the same sign test says which policy did better on it on average.
Questions that a failed call left without any answer under one of the two are in no pair, nor in the entropies.
Intervals of accuracy are each for itself (`statistics.paired_difference`), not corrected for the number of categories.
Entropy, for which there is no such test, is judged by whether its bootstrap interval leaves out 0.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sparkctl.errors import SparkError
from sparkctl.report.figures.entropy import entropy_difference, miller_madow_bits, tool_counts
from sparkctl.report.figures.finished import finished
from sparkctl.report.figures.statistics import (
    LEVEL,
    RESAMPLES,
    SEED,
    Interval,
    holm,
    mcnemar_exact,
    paired_difference,
    questions_needed,
)

FEW_FLIPS = 10
"""Below as many questions that differ, a share of them has an interval wider than itself."""


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of both over `n` questions."""

    n: int
    a: float
    b: float
    difference: float
    difference_ci: Interval
    p: float
    """McNemar's exact p-value of these questions alone."""
    p_holm: float | None
    """The same after Holm's correction over the categories; None for all questions together, one test."""
    evidence: bool
    """Whether the p-value, the corrected one where there is one, is below 5 %."""
    only_a: list[int]
    """Ids of the questions that flipped: better under a. With one sample each: right there, wrong under b."""
    only_b: list[int]


@dataclass(frozen=True)
class Entropy:
    """Tool-choice entropy of both, in bits, as in `report.entropy`; None of a policy that chose nothing."""

    a: float | None
    b: float | None
    difference: float | None
    difference_ci: Interval | None
    evidence: bool
    """Whether the interval leaves out 0."""


@dataclass(frozen=True)
class Comparison:
    """All of it."""

    a: str
    b: str
    accuracy: Accuracy
    categories: dict[str, Accuracy]
    left_out: int
    """Questions without a pair, since failed calls ended every answer to them under one of the two."""
    tool_entropy_bits: Entropy
    discordance: float
    """Mean square of a question's difference; with one sample each, the share answered differently."""
    averaged: bool
    """Whether a question has several samples, so that its difference is one of averages."""
    questions_for_one_point: int | None
    """How many questions would show one point (`statistics.questions_needed`); None where nothing differs."""
    resamples: int
    """Of the bootstrap of entropy."""
    seed: int

    @property
    def test(self) -> str:
        """What the p-values are of."""
        return "exact sign test of the questions' averages" if self.averaged else "McNemar's exact test"

    @property
    def caveat(self) -> str:
        """How far `questions_for_one_point` can be relied on, where that is not far: it rests on the questions that
        differ."""
        seen = len(self.accuracy.only_a) + len(self.accuracy.only_b)
        return f" (a rough guess: only {seen} differed here)" if 0 < seen < FEW_FLIPS else ""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"test": self.test}


@dataclass(frozen=True)
class _Side:
    """One policy's answers, a row per question, in the order of the ids."""

    ids: NDArray[np.int64]
    categories: NDArray[np.str_]
    right: NDArray[np.float64]
    """(questions,): share of a question's samples that are right; NaN where failed calls ended them all."""
    tools: NDArray[np.int64]
    """(questions, actions)"""

    def of(self, rows: NDArray[np.bool_]) -> "_Side":
        """Some of the questions."""
        return _Side(self.ids[rows], self.categories[rows], self.right[rows], self.tools[rows])


def compare(
    a: pa.Table,
    b: pa.Table,
    names: tuple[str, str],
    resamples: int = RESAMPLES,
    seed: int = SEED,
    asked: tuple[Any, Any] = (None, None),
) -> Comparison:
    """Two answers tables of one policy each; SparkError where they do not answer the same questions.

    `asked`: what identifies the questions of each, where it is known; ids may coincide by chance.
    """
    if None not in asked and asked[0] != asked[1]:
        raise SparkError(f"{names[0]} and {names[1]} were asked different questions; evaluate both on one set")
    one, two = _side(a, names[0]), _side(b, names[1])
    _check_same(one, two, names)
    paired = ~np.isnan(one.right) & ~np.isnan(two.right)
    if not paired.any():
        raise SparkError(
            f"{names[0]} and {names[1]}: failed calls ('is_correct' is null) left no question answered under both; "
            "evaluate them again"
        )
    one, two = one.of(paired), two.of(paired)
    overall = _accuracy(one, two, np.ones(len(one.ids), bool))
    tested = {str(c): _accuracy(one, two, one.categories == c) for c in np.unique(one.categories)}
    corrected = holm({c: found.p for c, found in tested.items()})
    discordance = float(((two.right - one.right) ** 2).mean())
    return Comparison(
        a=names[0],
        b=names[1],
        accuracy=overall,
        categories={c: replace(f, p_holm=corrected[c], evidence=corrected[c] < LEVEL) for c, f in tested.items()},
        left_out=int((~paired).sum()),
        tool_entropy_bits=_entropy(one, two, resamples, seed),
        discordance=discordance,
        averaged=max(len(a), len(b)) > len(paired),
        questions_for_one_point=questions_needed(discordance),
        resamples=resamples,
        seed=seed,
    )


def _side(answers: pa.Table, name: str) -> _Side:
    policies = sorted(set(answers["policy"].to_pylist()))
    if len(policies) > 1:
        raise SparkError(
            f"{name}: column 'policy' names {len(policies)} policies: {', '.join(policies)}; keep one in a file"
        )
    ids, first = np.unique(answers["question_id"].to_numpy(), return_index=True)
    categories = np.array(answers["category"].to_pylist())[first]
    answers = finished(answers)
    row = np.searchsorted(ids, answers["question_id"].to_numpy())
    asked, hits = (np.bincount(row, by, len(ids)) for by in (None, np.array(answers["is_correct"].to_pylist(), float)))
    right = np.divide(hits, asked, out=np.full(len(ids), np.nan), where=asked > 0)
    tools = tool_counts(answers["tools"].to_pylist(), answers["question_id"].to_pylist(), ids.tolist())
    return _Side(ids, categories, right, tools)


def _check_same(one: _Side, two: _Side, names: tuple[str, str]) -> None:
    """Refuse to pair what is not the same questions."""
    only_a, only_b = np.setdiff1d(one.ids, two.ids), np.setdiff1d(two.ids, one.ids)
    if len(only_a) or len(only_b):
        raise SparkError(
            f"{names[0]} and {names[1]} do not answer the same questions: {len(one.ids) - len(only_a)} in both, "
            f"{len(only_a)} only in the first, {len(only_b)} only in the second (such as question_id "
            f"{(only_a if len(only_a) else only_b)[0]}); evaluate both on one set"
        )
    if (apart := np.flatnonzero(one.categories != two.categories)).size:
        at = apart[0]
        raise SparkError(
            f"{names[0]} and {names[1]}: column 'category' of question_id {one.ids[at]} is '{one.categories[at]}' in the "
            f"first, '{two.categories[at]}' in the second; these are not the same questions"
        )


def _accuracy(one: _Side, two: _Side, rows: NDArray[np.bool_]) -> Accuracy:
    """The comparison on some of the questions, without correction for other tests."""
    change = (two.right - one.right)[rows]
    only_a, only_b = one.ids[rows][change < 0].tolist(), one.ids[rows][change > 0].tolist()
    p, found = mcnemar_exact(len(only_a), len(only_b)), paired_difference(change)
    return Accuracy(
        n=len(change),
        a=float(one.right[rows].mean()),
        b=float(two.right[rows].mean()),
        difference=found.value,
        difference_ci=(found.low, found.high),
        p=p,
        p_holm=None,
        evidence=p < LEVEL,
        only_a=only_a,
        only_b=only_b,
    )


def _entropy(one: _Side, two: _Side, resamples: int, seed: int) -> Entropy:
    a, b = (float(miller_madow_bits(side.tools.sum(0))) if side.tools.any() else None for side in (one, two))
    change = entropy_difference(one.tools, two.tools, resamples, seed)
    if change is None:
        return Entropy(a, b, None, None, evidence=False)
    return Entropy(a, b, change.value, (change.low, change.high), evidence=not change.low <= 0 <= change.high)
