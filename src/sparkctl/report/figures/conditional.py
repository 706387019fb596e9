"""Tool-choice entropy within question types, and paired differences between policies asked the same questions.

H(tool | type) = sum over types of share(type) * H(tools of that type), in bits; the shares are those of the policy's
tool calls (conditional entropy, Cover & Thomas 2006, eq. 2.10). What remains when the type is known is diversity that
a better mapping of question to tool cannot explain. Plug-in estimates; with k types the bias is up
to -8 k / (2 n ln 2) bits for n choices, and largely the same for two policies, so that it leaves their difference.

Intervals are 95 % percentile bootstraps over questions, resampled within each seed, the same draw for every policy.
Seeds are not resampled: the variation between training runs is not in the intervals; look at the seeds one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sparkctl.report.figures.entropy import plug_in_bits, tool_counts
from sparkctl.report.figures.finished import finished
from sparkctl.report.figures.statistics import RESAMPLES, SEED, Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """One policy's answers to one seed's questions; one row per question, in the order of the ids."""

    correct: Floats
    """(question): answers that are right."""
    asked: Floats
    """(question): answers, more than one where eval.samples is, fewer where failed calls ended some."""
    tools: Floats
    """(question, type, action): how often each action was taken."""


@dataclass(frozen=True)
class Sums:
    """What the answers of one policy add up to. Draw 0 is the sample itself, the others are resampled."""

    correct: Floats
    """(draw, seed)"""
    asked: Floats
    """(draw, seed)"""
    tools: Floats
    """(draw, seed, type, action)"""

    def of_seed(self, index: int) -> "Sums":
        """One seed alone."""
        one = slice(index, index + 1)
        return Sums(self.correct[:, one], self.asked[:, one], self.tools[:, one])


def counted(answers: pa.Table, type_of: Mapping[int, str], types: Sequence[str]) -> Counts:
    """An answers table of one policy, counted. `type_of`: question id -> type; `types`: all types, in the order to use."""
    ids = np.unique(answers["question_id"].to_numpy())  # all: other policies may have finished other questions
    answers = finished(answers)
    row = np.searchsorted(ids, answers["question_id"].to_numpy())
    kind = np.eye(len(types))[[types.index(type_of[question]) for question in ids.tolist()]]
    actions = tool_counts(answers["tools"].to_pylist(), answers["question_id"].to_pylist(), ids.tolist())
    right = np.array(answers["is_correct"].to_pylist(), dtype=float)
    correct, asked = (np.bincount(row, by, len(ids)).astype(float) for by in (right, None))
    return Counts(correct, asked, kind[:, :, None] * actions[:, None, :])


def draws(sizes: Sequence[int], resamples: int = RESAMPLES, seed: int = SEED) -> list[Floats]:
    """Per seed, (draw, question): how often each question counts. Row 0 counts each once."""
    rng = np.random.default_rng(seed)
    drawn = [rng.multinomial(n, np.full(n, 1 / n), size=resamples) for n in sizes]
    return [np.vstack([np.ones(n), weights]) for n, weights in zip(sizes, drawn, strict=True)]


def summed(counts: Sequence[Counts], weights: Sequence[Floats]) -> Sums:
    """The sums of one policy over the draws; both sequences are by seed."""
    pairs = list(zip(weights, counts, strict=True))
    return Sums(
        np.stack([w @ c.correct for w, c in pairs], 1),
        np.stack([w @ c.asked for w, c in pairs], 1),
        np.stack([np.tensordot(w, c.tools, 1) for w, c in pairs], 1),
    )


def conditional_entropy_bits(counts: Floats) -> Floats:
    """H(last axis | the axis before it), in bits; 0 where nothing was counted."""
    calls = counts.sum(-1)
    share = calls / np.maximum(calls.sum(-1, keepdims=True), 1)
    return (share * plug_in_bits(counts)).sum(-1)


Measure = Callable[[Sums], Floats]
MEASURES: dict[str, Measure] = {
    "accuracy": lambda s: s.correct.sum(1) / s.asked.sum(1),
    "entropy_bits": lambda s: plug_in_bits(s.tools.sum((1, 2))),
    "entropy_within_type_bits": lambda s: conditional_entropy_bits(s.tools.sum(1)),
    "entropy_within_seed_bits": lambda s: conditional_entropy_bits(s.tools.sum(2)),
}
"""Over all seeds of the sums pooled. Pooling adds the differences between the seeds' policies to the entropy; within
seed they are left out."""


def estimate(draws: Floats) -> Estimate:
    """The value of draw 0 with the percentile interval of the others."""
    low, high = np.percentile(draws[1:], [2.5, 97.5])
    return Estimate(float(draws[0]), float(low), float(high))


def difference(measure: Measure, one: Sums, other: Sums) -> Estimate:
    """`one` minus `other`, paired: both are of the same draws."""
    return estimate(measure(one) - measure(other))
