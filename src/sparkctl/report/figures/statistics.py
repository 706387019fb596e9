"""Statistics of two policies on the same questions, pure: is there a difference, how large, how many questions it takes.

Everything is paired by question: both policies meet the same easy and hard ones, and what is left after the pairing is
what they do differently. Several samples of a question are averaged first: they are no further questions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Interval = tuple[float, float]
POINT = 0.01
LEVEL, POWER = 0.05, 0.80
RESAMPLES, SEED = 2000, 0
"""Of every bootstrap in a report."""
_DRAWN_AT_ONCE = 100_000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value of McNemar's test: under no difference a discordant pair falls either way with 1/2.

    `only_a`, `only_b`: questions on which just that policy does better. (McNemar 1947; exact form: a sign test.)
    """
    from scipy.special import bdtr  # scipy.stats has the test by name, and takes a second to import

    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values (Holm 1979): reject those below the level, and the family-wise error keeps to it.

    The i-th smallest of m (i from 0) is multiplied by m - i; none may fall below the one before it, none exceeds 1.
    """
    adjusted, highest = {}, 0.0
    for i, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - i) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def resampled_totals(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """(resamples, columns): column sums of `values` (questions, columns) over questions drawn with replacement.

    One draw serves all columns, so that whatever is computed from a row of totals is paired by question.
    """
    draw, n = np.random.default_rng(seed), len(values)
    totals = np.empty((resamples, values.shape[1]))
    for part in np.array_split(totals, math.ceil(resamples * n / _DRAWN_AT_ONCE)):
        # Many draws in one count, each with numbers of its own: with few questions the calls would take the time.
        drawn = draw.integers(0, n, (len(part), n)) + n * np.arange(len(part))[:, None]
        part[:] = np.bincount(drawn.ravel(), minlength=len(part) * n).reshape(-1, n) @ values
    return totals


def percentile_interval(estimates: NDArray[np.float64]) -> Interval:
    """95 % percentile interval of bootstrap estimates."""
    low, high = np.percentile(estimates, [100 * LEVEL / 2, 100 - 100 * LEVEL / 2])
    return float(low), float(high)


def ratio(top: NDArray[Any], bottom: NDArray[Any], resamples: int = RESAMPLES, seed: int = SEED) -> Estimate | None:
    """Sum of `top` over sum of `bottom`, both (questions,), with its bootstrap interval over questions.

    None where `bottom` sums to 0; resamples in which it does are left out.
    """
    if not bottom.sum():
        return None
    totals = resampled_totals(np.stack([top, bottom], 1).astype(float), resamples, seed)
    totals = totals[totals[:, 1] > 0]
    return Estimate(float(top.sum()) / float(bottom.sum()), *percentile_interval(totals[:, 0] / totals[:, 1]))


def wilson(successes: float, n: float) -> Interval:
    """95 % Wilson score interval of a proportion (Wilson 1927). Ours, because importing scipy.stats takes a second."""
    z = NormalDist().inv_cdf(0.975)
    share, spread = successes / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / spread
    half = z / spread * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def effective_n(right: NDArray[Any], asked: NDArray[Any]) -> float:
    """How many independent answers say as much as these of `right` among `asked`, both (questions,).

    p (1 - p) over the variance of p that treats questions, not answers, as drawn (Kish's effective sample size; the
    linearised variance of a ratio). At least the questions, at most the answers: with one answer each it is their
    number, and Wilson's interval is the usual one. Held at the answers though the quotient may exceed them: samples of
    a question are independent given it, so that beyond is chance (simulated with 20 to 200 questions of 2 or 5 alike
    answers: 95 to 97 % of the intervals hold the true share as it is, 94 to 96 % without); and where questions happen to
    agree, the variance is next to nothing and the interval would have no width. What is truly more regular than
    independent, such as a tool called once on every question, gets an interval that is too wide.
    """
    questions, answers = float(np.count_nonzero(asked)), float(asked.sum())
    p = float(right.sum()) / answers
    if not 0 < p < 1 or questions == 1:
        return questions
    variance = float(((right - p * asked) ** 2).sum()) * questions / (questions - 1) / answers**2
    return min(max(p * (1 - p) / max(variance, 1e-12), questions), answers)


def proportion(right: NDArray[Any], asked: NDArray[Any]) -> Estimate | None:
    """The share right, both counts by question, with Wilson's interval for the effective n; None where none was asked."""
    if not asked.sum():
        return None
    share, n = float(right.sum() / asked.sum()), effective_n(right, asked)
    return Estimate(share, *wilson(share * n, n))


def macro_average(parts: Sequence[tuple[Array, Array]]) -> Estimate:
    """Mean of the accuracies of categories, each (right, asked) by question, every category weighing the same.

    Wilson's interval for n = K^2 / sum of 1 / n_k, n_k being the effective number of answers of category k: the variance
    of the mean, were all categories as hard as they are on average. That errs on the wide side (p (1 - p) is concave), and
    for categories of one size gives the interval of the micro average. Adding up the categories' own intervals does not
    do: each of Wilson's leans towards 1/2, and so would their sum, K times as much.
    """
    value = sum(float(right.sum() / asked.sum()) for right, asked in parts) / len(parts)
    n = len(parts) ** 2 / sum(1 / effective_n(right, asked) for right, asked in parts)
    return Estimate(value, *wilson(value * n, n))


def paired_difference(change: Array) -> Estimate:
    """Mean of the questions' differences, each in [-1, 1], with an interval that has a width where few differ, or none.

    m -+ 1.96 sqrt(v / (n + 2)) with m = S / (n + 2), v = (Q + 2) / (n + 2) - m^2, S and Q the sums of the differences
    and of their squares: where each is -1, 0 or 1, the interval of Bonett & Price (2012, eq. 2), which adds one pair
    that flips to either side. A bootstrap has no width where nothing flipped, and too little where few did.
    """
    n = len(change) + 2
    middle = float(change.sum()) / n
    half = NormalDist().inv_cdf(0.975) * math.sqrt(((float((change**2).sum()) + 2) / n - middle**2) / n)
    return Estimate(float(change.mean()), max(-1.0, middle - half), min(1.0, middle + half))


def difference_over_seeds(changes: Sequence[Array]) -> Estimate:
    """Mean of paired differences (questions,) over replications, one array each: questions are the units, seeds the
    clusters. Seeds weigh the same.

    The variance is the larger of two: what the questions explain (`paired_difference` of each seed), and what the seeds'
    means show by differing. That is the random-effects estimate of DerSimonian & Laird (1986) for seeds of one size: a
    variance between trainings is added where the seeds differ more than their questions explain. From few seeds it is
    known poorly: look at them one by one too.
    """
    each = [paired_difference(change) for change in changes]
    z, k = NormalDist().inv_cdf(0.975), len(each)
    within = sum(((e.high - e.low) / (2 * z)) ** 2 for e in each) / k
    means = np.array([e.value for e in each])
    between = float(means.var(ddof=1)) if k > 1 else 0.0
    value, half = float(means.mean()), z * math.sqrt(max(within, between) / k)
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half))


def not_worse(found: Estimate, margin: float) -> str:
    """Whether a difference is no loss of more than `margin` (a test of non-inferiority, one-sided at 2.5 %): "holds" if
    the whole 95 % interval is above -margin, "does not hold" if all of it is below, else "not shown"."""
    if found.low > -margin:
        return "holds"
    return "does not hold" if found.high < -margin else "not shown"


def questions_needed(discordance: float, difference: float = POINT) -> int | None:
    """Questions that a paired test needs to see `difference` with power 80 % at a two-sided level of 5 %, about.

    n = (z_a sqrt(d) + z_b sqrt(d - difference^2))^2 / difference^2, with z_a = 1.96, z_b = 0.84 and d the share of
    questions that the policies answer differently (Connor 1987 for McNemar's test; d is also the mean square of a
    question's difference, which serves where samples were averaged). A difference cannot exceed d, so d is at least
    that; None where nothing differs and d is unknown. By the normal approximation: the exact test has some 76 to 78 %.
    """
    if not discordance:
        return None
    d = max(discordance, difference)
    z_a, z_b = NormalDist().inv_cdf(1 - LEVEL / 2), NormalDist().inv_cdf(POWER)
    return math.ceil((z_a * math.sqrt(d) + z_b * math.sqrt(d - difference**2)) ** 2 / difference**2)
