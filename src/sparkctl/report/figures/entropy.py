"""Entropy of the choice of tools: its estimators, intervals, and the difference of two policies. Pure.

It is in bits, over the nine actions, without the `cot` that gives the answer: answering is not choosing a tool. What is
reported carries the correction of Miller (1955) and Madow: with K actions seen among n choices, H = H_plug-in +
(K - 1) / (2 n ln 2), here at most log2 9. The formula is for independent choices; those of one question resemble one
another, so that some bias is left. Intervals are percentile bootstraps over questions. Resamples are too low once more,
so they are moved until their mean is the estimate (a bootstrap's own measure of the bias: Efron & Tibshirani 1993, ch.
10). Where only one action was seen an interval has no width: that is no proof that there would never be another.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparkctl.method.episode import ACTIONS
from sparkctl.report.figures.statistics import RESAMPLES, SEED, Array, Estimate, percentile_interval, resampled_totals

MOST_BITS = float(np.log2(len(ACTIONS)))


def tool_counts(
    tools: Sequence[Sequence[str]], questions: Sequence[int], ids: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """(question, action): how often each action was taken on each question, in the order of `ids`; without these in that
    of the questions."""
    row = {question: i for i, question in enumerate(dict.fromkeys(questions if ids is None else ids))}
    counts = np.zeros((len(row), len(ACTIONS)), np.int64)
    for question, taken in zip(questions, tools, strict=True):
        for action in taken:
            counts[row[question], ACTIONS.index(action)] += 1
    return counts


def plug_in_bits(counts: Array) -> NDArray[np.float64]:
    """Entropy of the shares over the last axis, in bits; 0 where nothing was counted. Too low for few choices."""
    share = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    return 0.0 - (share * np.log2(np.where(share > 0, share, 1.0))).sum(-1)  # a mere sign would print as -0.00


def miller_madow_bits(counts: Array) -> NDArray[np.float64]:
    """The same with the correction of Miller and Madow."""
    n, seen = counts.sum(-1), np.count_nonzero(counts, -1)
    return np.minimum(plug_in_bits(counts) + np.maximum(seen - 1, 0) / (2 * np.maximum(n, 1) * np.log(2)), MOST_BITS)


def chao_shen_bits(counts: Array) -> NDArray[np.float64]:
    """Chao and Shen's entropy (2003) over the last axis, in bits, for a few choices; 0 where nothing was counted.

    - sum of C p log2(C p) / (1 - (1 - C p)^n), with p = count / n and the coverage C = 1 - f / n (Good 1953), f the
    number of actions seen once. Where all were, f is taken as n - 1, lest nothing be covered.
    """
    n = np.maximum(counts.sum(-1, keepdims=True), 1)
    once = np.minimum((counts == 1).sum(-1, keepdims=True), n - 1)
    p = np.where(counts > 0, (1 - once / n) * counts / n, 1.0)  # a share of 1 adds nothing
    return np.minimum(0.0 - (p * np.log2(p) / (1 - (1 - p) ** n)).sum(-1), MOST_BITS)


def entropy(counts: Array, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate | None:
    """Of all choices, with its interval; `counts` (questions, actions). None where nothing was chosen."""
    if not counts.sum():
        return None
    value = float(miller_madow_bits(counts.sum(0)))
    drawn = miller_madow_bits(resampled_totals(counts.astype(float), resamples, seed))
    return Estimate(value, *percentile_interval(np.clip(about(value, drawn), 0, MOST_BITS)))


def entropy_difference(one: Array, two: Array, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate | None:
    """That of `two` less that of `one`, both (questions, actions): one draw of questions serves both. None where either
    chose nothing: who takes no tool has not chosen the same one every time."""
    if not (one.sum() and two.sum()):
        return None
    totals = resampled_totals(np.hstack([one, two]).astype(float), resamples, seed)
    drawn = miller_madow_bits(totals[:, one.shape[1] :]) - miller_madow_bits(totals[:, : one.shape[1]])
    value = float(miller_madow_bits(two.sum(0)) - miller_madow_bits(one.sum(0)))
    return Estimate(value, *percentile_interval(about(value, drawn)))


def about(value: float, drawn: Array) -> Array:
    """Resamples of an estimate with bias, moved to lie about its value."""
    return drawn + (value - drawn.mean())
