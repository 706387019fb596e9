"""Entropy of tool choice: by hand, and what the estimates promise when an experiment is repeated."""

import numpy as np
import pytest

from sparkctl.report.figures.entropy import (
    chao_shen_bits,
    entropy,
    entropy_difference,
    miller_madow_bits,
    plug_in_bits,
    tool_counts,
)

SKEWED = np.array([0.5, 0.2, 0.1, 0.05, 0.05, 0.04, 0.03, 0.02, 0.01])
"""2.15 bits."""


@pytest.mark.parametrize(
    ("counts", "miller_madow", "chao_shen"),
    [
        # 1.5 + 2 / (8 ln 2). Two of three seen once: C = 1/2, C p = 1/4 and twice 1/8, seen with 1 - .75^4 = .6836 and
        # 1 - .875^4 = .4138: .5 / .68359 + .75 / .41382.
        ([2, 1, 1], 1.860674, 2.543818),
        # .811278 + 1 / (8 ln 2). C = 3/4: C p = 9/16 and 3/16.
        ([3, 1], 0.991615, 1.287270),
        # 1 + 1 / (4 ln 2). All seen once, so that f = 1: C p = 1/4 both, seen with 1 - .75^2: 2 * .5 / .4375.
        ([1, 1], 1.360674, 2.285714),
        ([7, 0, 0], 0.0, 0.0),
        ([1, 0], 0.0, 0.0),
        ([0, 0], 0.0, 0.0),
        ([1] * 9, np.log2(9), np.log2(9)),  # never more than nine actions can have
    ],
)
def test_corrected_entropies_by_hand(counts, miller_madow, chao_shen):
    assert miller_madow_bits(np.array(counts)) == pytest.approx(miller_madow, abs=1e-6)
    assert chao_shen_bits(np.array(counts)) == pytest.approx(chao_shen, abs=1e-6)


@pytest.mark.parametrize(
    ("estimate", "n", "of_the_bias"),
    [
        (miller_madow_bits, 20, 0.45),
        (miller_madow_bits, 50, 0.35),
        (miller_madow_bits, 200, 0.35),
        (chao_shen_bits, 2, 0.5),
        (chao_shen_bits, 4, 0.35),
        (chao_shen_bits, 8, 0.3),
    ],
)
@pytest.mark.parametrize("shares", [SKEWED, np.full(9, 1 / 9)])
def test_the_bias_left_is_a_small_part_of_the_plug_ins(estimate, n, of_the_bias, shares):
    # The mean of 20,000 repetitions is good to .01 bits; the plug-in's bias is .03 to 2.3 bits.
    counts = np.random.default_rng(0).multinomial(n, shares, 20_000)
    true = plug_in_bits(shares)
    assert abs(estimate(counts).mean() - true) < of_the_bias * abs(plug_in_bits(counts).mean() - true) + 0.01


def test_where_many_choices_are_pooled_miller_madow_leaves_less_bias_and_chao_shen_where_few_are():
    few, many = (np.random.default_rng(0).multinomial(n, np.full(9, 1 / 9), 20_000) for n in (2, 100))
    assert miller_madow_bits(few).mean() < chao_shen_bits(few).mean() < np.log2(9)
    assert chao_shen_bits(many).mean() < miller_madow_bits(many).mean() < np.log2(9) + 0.005


def test_entropy_of_uniform_and_of_one():
    assert plug_in_bits(np.array([3] * 9)) == pytest.approx(np.log2(9))
    assert plug_in_bits(np.array([7, 0, 0])) == 0.0
    assert plug_in_bits(np.array([0, 0, 0])) == 0.0


def test_counts_are_grouped_by_question():
    counts = tool_counts([["cot"], ["search"], ["cot", "cot"]], [5, 6, 5])
    assert counts.sum(1).tolist() == [3, 1]


def test_the_interval_holds_the_true_entropy_about_as_often_as_it_says():
    draw, hits = np.random.default_rng(0), 0
    share = np.array([0.5, 0.25, 0.25])
    for _ in range(100):
        counts = draw.multinomial(1, share, size=400)
        found = entropy(counts)
        hits += found.low <= 1.5 <= found.high
    # 95 of 100 expected; binomial standard error 2.2, so 88 is three below.
    assert hits >= 88


@pytest.mark.parametrize(("shares", "at_least"), [(SKEWED, 0.84), (np.full(9, 1 / 9), 0.93)])
def test_the_interval_of_few_choices_holds_the_truth(shares, at_least):
    rng, true, held = np.random.default_rng(1), float(plug_in_bits(shares)), 0
    for _ in range(150):
        found = entropy(rng.multinomial(1, shares, size=60))
        held += found.low - 1e-9 <= true <= found.high + 1e-9
    # Nominally 95 %; of 60 choices a bootstrap keeps some 90 % (standard error .025). Left where the resamples lie, the
    # interval holds the entropy of nine tools used alike in 85 %.
    assert held / 150 > at_least


def test_a_difference_is_of_corrected_entropies():
    """By hand: 1 + 1 / (8 ln 2) less 0, and one question's every resample is itself."""
    one, two = np.array([[4, 0, 0]]), np.array([[2, 2, 0]])
    found = entropy_difference(one, two)
    assert (found.value, found.low, found.high) == pytest.approx((1.180337,) * 3, abs=1e-6)
    back = entropy_difference(two, one)
    assert (back.value, back.low, back.high) == pytest.approx((-1.180337,) * 3, abs=1e-6)


def test_the_difference_of_a_narrow_policy_and_an_even_one_is_held():
    """Of few choices: the even one's entropy is the more underestimated, in the value and in every resample."""
    rng, held, values = np.random.default_rng(2), 0, []
    even, true = np.full(9, 1 / 9), float(np.log2(9)) - 1.0
    for _ in range(100):
        found = entropy_difference(
            rng.multinomial(1, [0.5, 0.5], size=60) @ np.eye(2, 9, dtype=int), rng.multinomial(1, even, size=60)
        )
        held += found.low <= true <= found.high
        values.append(found.value)
    # Plug-in: off by -.085 bits. The mean of 100 repetitions is good to .007.
    assert abs(np.mean(values) - true) < 0.03
    assert held >= 88


def test_the_interval_is_over_questions_not_choices():
    """The same choices in fewer, larger clusters are worth less: the interval is wider."""
    rng = np.random.default_rng(1)
    one_each = rng.multinomial(1, [0.5, 0.5], size=400)
    clustered = 10 * rng.multinomial(1, [0.5, 0.5], size=40)
    narrow, wide = (entropy(c) for c in (one_each, clustered))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
