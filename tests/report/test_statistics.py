"""Statistics against hand-computed cases, scipy, and what they promise when an experiment is repeated."""

import numpy as np
import pytest
from scipy import stats

from sparkctl.report.figures.statistics import (
    Estimate,
    difference_over_seeds,
    effective_n,
    holm,
    macro_average,
    mcnemar_exact,
    not_worse,
    paired_difference,
    percentile_interval,
    proportion,
    questions_needed,
    ratio,
    resampled_totals,
    wilson,
)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (1, 9, 2 * (1 + 10) / 2**10),
        (9, 1, 2 * (1 + 10) / 2**10),
        (0, 5, 2 / 2**5),
        (2, 6, 2 * (1 + 8 + 28) / 2**8),
        (3, 3, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_by_hand(only_a, only_b, p):
    assert mcnemar_exact(only_a, only_b) == pytest.approx(p)


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, and the last may not fall below the one before it.
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert list(adjusted) == ["a", "b", "c", "d"]
    assert list(adjusted.values()) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({"a": 0.2}) == {"a": 0.2}


@pytest.mark.parametrize(
    ("n", "lost", "gained", "samples"),
    [(50, 0.03, 0.02, 1), (50, 0.01, 0.01, 1), (50, 0.0, 0.1, 1), (700, 0.03, 0.02, 1), (50, 0.2, 0.1, 4)],
)
def test_the_interval_of_a_paired_difference_holds_the_truth(n, lost, gained, samples):
    """A bootstrap of fifty questions, of which 3 % flip one way and 2 % the other, holds it in 76 %."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(1500):
        flips = rng.multinomial(samples, [lost, gained, 1 - lost - gained], size=n)
        found = paired_difference((flips[:, 1] - flips[:, 0]) / samples)
        held += found.low <= gained - lost <= found.high
        assert found.low <= found.value <= found.high
        assert found.high > found.low
    # Nominally 95 %; the standard error of a share of 1,500 is .006.
    assert held / 1500 > 0.93


def test_over_seeds_the_variance_is_that_of_questions_or_of_seeds_whichever_is_larger():
    none, alike = np.zeros(98), np.array([1.0, -1.0] * 49)
    # Of each seed by Bonett & Price with n = 100: (Q + 2) / 100 over 100 is 0.02 / 100 and 1 / 100.
    of_questions = difference_over_seeds([none, none])
    assert (of_questions.value, of_questions.high) == pytest.approx((0.0, 1.96 * (0.0002 / 2) ** 0.5), rel=1e-4)
    mixed = difference_over_seeds([none, alike])
    assert mixed.high == pytest.approx(1.96 * ((0.0002 + 0.01) / 2 / 2) ** 0.5, rel=1e-4)
    # Means 0.0 and 0.5: their variance of 0.125 is far more than the questions explain.
    apart = difference_over_seeds([none, np.array([1.0, 0.0] * 49)])
    assert apart.value == 0.25
    assert apart.high - 0.25 == 0.25 - apart.low == pytest.approx(1.96 * (0.125 / 2) ** 0.5, rel=1e-4)
    assert difference_over_seeds([alike]) == paired_difference(alike)


def test_the_interval_over_seeds_holds_the_truth_where_trainings_differ_too():
    draw, held = np.random.default_rng(0), 0
    for _ in range(1000):
        seeds = 0.02 + 0.03 * draw.standard_normal(8)  # a training moves accuracy by 3 points, questions by 2
        found = difference_over_seeds(
            [draw.choice([1.0, 0, -1], 400, p=[0.1 + s / 2, 0.8, 0.1 - s / 2]) for s in seeds]
        )
        held += found.low <= 0.02 <= found.high
    assert 0.88 < held / 1000 < 0.97  # normal quantiles with eight seeds; over questions alone it is about 0.71


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (-0.019, 0.01, "holds"),
        (-0.02, 0.01, "not shown"),
        (-0.05, -0.02, "not shown"),
        (-0.05, -0.021, "does not hold"),
    ],
)
def test_no_loss_beyond_the_margin_is_shown_by_the_interval(low, high, says):
    assert not_worse(Estimate(0.0, low, high), 0.02) == says


def test_questions_needed_by_hand():
    # d = .1: (1.959964 * .3162278 + .841621 * .3160696)^2 / .0001 = (.6197951 + .2660109)^2 / .0001 = 7846.5
    assert questions_needed(0.1) == 7847
    # d = .01, all of it one way: (.1959964 + .841621 * .0994987)^2 / .0001 = 782.5
    assert questions_needed(0.01) == 783
    assert questions_needed(0.001) == 783
    assert questions_needed(0.0) is None


def test_that_many_questions_do_show_the_difference_in_four_of_five_experiments():
    n = questions_needed(0.2, difference=0.1)
    # Of the questions 15 % flip one way and 5 % the other: discordance .2, difference .1.
    flips = np.random.default_rng(0).multinomial(n, [0.15, 0.05, 0.8], size=4000)
    gained, lost = flips[:, 0], flips[:, 1]
    seen = (gained - lost) ** 2 / (gained + lost) > stats.chi2.ppf(0.95, 1)
    # The standard error of a share of 4,000 is .0063; the formula is asymptotic, hence .03.
    assert seen.mean() == pytest.approx(0.80, abs=0.03)


def test_totals_are_of_whole_questions_drawn_together():
    values = np.random.default_rng(0).normal(size=(30, 1))
    totals = resampled_totals(np.hstack([values, 2 * values, np.ones_like(values)]), 200, 1)
    assert totals.shape == (200, 3)
    assert totals[:, 1] == pytest.approx(2 * totals[:, 0])
    assert (totals[:, 2] == 30).all()
    assert (totals == resampled_totals(np.hstack([values, 2 * values, np.ones_like(values)]), 200, 1)).all()
    assert (totals[:, 0] != resampled_totals(values, 200, 2)[:, 0]).any()


def test_the_bootstrap_interval_is_scipys():
    change = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], size=300, p=[0.1, 0.7, 0.2])
    ours = percentile_interval(resampled_totals(change[:, None], 4000, 0)[:, 0] / 300)
    theirs = stats.bootstrap((change,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    # Interval half-width .06; two runs of 4,000 resamples differ at the ends by about .002.
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.008)


def test_a_ratio_is_of_sums_and_resampled_by_question():
    found = ratio(np.array([1, 0, 3]), np.array([1, 1, 4]))
    assert found.value == pytest.approx(4 / 6)
    assert 0 <= found.low < found.value < found.high <= 1
    assert ratio(np.array([1, 2]), np.array([0, 0])) is None


def test_one_answer_to_a_question_gives_wilsons_interval_as_it_is():
    right, asked = np.array([1, 0, 1, 1, 0]), np.ones(5)
    assert effective_n(right, asked) == 5
    found = proportion(right, asked)
    assert (found.value, found.low, found.high) == pytest.approx((0.6, *wilson(3, 5)))


def test_samples_that_all_agree_are_one_answer_and_those_that_do_not_are_more():
    right = np.array([4, 0, 4, 4, 0])
    assert effective_n(right, np.full(5, 4)) == pytest.approx(5)
    assert effective_n(np.array([2, 2, 2, 2]), np.full(4, 4)) == 16  # as even as no independent answers are
    assert effective_n(np.array([4, 4]), np.array([4, 4])) == 2  # nothing differs, nothing can be told
    assert proportion(np.zeros(2), np.zeros(2)) is None


def test_the_interval_for_effective_answers_covers_what_the_naive_one_does_not():
    rng, hits, naive, n = np.random.default_rng(0), 0, 0, 2000
    for _ in range(n):
        # Chances of .1 or .9, half each: answers to one question resemble one another.
        right = rng.binomial(4, rng.choice([0.1, 0.9], 100))
        found = proportion(right, np.full(100, 4))
        hits += found.low <= 0.5 <= found.high
        low, high = wilson(int(right.sum()), 400)
        naive += low <= 0.5 <= high
    # Standard error of a share of 2,000 near .95: .005.
    assert hits / n == pytest.approx(0.95, abs=0.02)
    assert naive / n < 0.85


def test_a_macro_average_by_hand():
    # Three of four and none of one: 3/8, and n = 2^2 / (1/4 + 1/1) = 3.2.
    found = macro_average([(np.array([1, 1, 1, 0]), np.ones(4)), (np.array([0]), np.ones(1))])
    assert found.value == 0.375
    assert (found.low, found.high) == pytest.approx(wilson(1.2, 3.2))
    # Categories of one size: the micro average's own.
    halves = [(np.array([1, 1, 1, 0]), np.ones(4)), (np.array([1, 0, 0, 0]), np.ones(4))]
    assert (macro_average(halves).low, macro_average(halves).high) == pytest.approx(wilson(4, 8))


@pytest.mark.parametrize(("share", "each"), [(0.924, 50), (0.94, 8), (0.5, 50)])
def test_the_interval_of_a_macro_average_misses_on_either_side_alike(share, each):
    """Wilson's intervals of the categories, added up, miss on one side in 7 to 11 % where nearly all is right."""
    rng, above, below = np.random.default_rng(0), 0, 0
    for _ in range(2000):
        parts = [(np.arange(each) < right, np.ones(each)) for right in rng.binomial(each, share, 14)]
        found = macro_average(parts)
        above, below = above + (share > found.high), below + (share < found.low)
    # Nominally 2.5 % each; the standard error of such a share of 2,000 is .0035.
    assert above / 2000 < 0.04
    assert below / 2000 < 0.04
