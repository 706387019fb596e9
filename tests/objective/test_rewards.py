"""Reward terms against numbers worked out by hand."""

import math

import pytest

from sparkctl.objective.rewards import Terms, Weights, combined, rarity, terms

WEIGHTS = Weights(quality=2.0, rarity=0.5, correctness=3.0)


def test_rarity_is_one_at_the_uniform_share():
    assert rarity([0] * 9, 3) == pytest.approx(1.0)
    assert rarity([7] * 9, 3) == pytest.approx(1.0)


def test_rarity_falls_with_use_and_is_bounded():
    usage = [90, 0, 0, 0, 0, 0, 0, 0, 0]
    # Shares with one count added to each: 91/99 and 1/99; -ln(91/99)/ln 9 = 0.08426/2.19722, -ln(1/99)/ln 9 = 2.0913.
    assert rarity(usage, 0) == pytest.approx(0.03835, abs=1e-5)
    assert rarity(usage, 1) == 2.0
    assert rarity([8, 0], 1) == pytest.approx(min(2.0, math.log(10) / math.log(2)))


def test_terms_are_weighted():
    made = terms(score=7.0, usage=[0] * 9, action=2, correct=True, weights=WEIGHTS)
    # 2 * 0.7, 0.5 * 1, 3 * 1
    assert (made.quality, made.rarity, made.correctness) == pytest.approx((1.4, 0.5, 3.0))
    assert (made.local, made.outcome) == pytest.approx((1.9, 3.0))
    assert terms(7.0, [0] * 9, 2, False, WEIGHTS).correctness == 0


def test_correctness_is_not_imputed_to_what_was_not_executed():
    made = terms(7.0, [0] * 9, 2, None, WEIGHTS)
    assert (made.correctness, made.outcome) == (None, 0.0)


def test_sum_adds_and_product_pays_only_where_right():
    assert combined(Terms(1.0, 0.5, 0.3), "sum") == (1.5, 0.3)
    # (1 + 0.5) * 0.3, all of it known only once the rollout has ended
    assert combined(Terms(1.0, 0.5, 0.3), "product") == pytest.approx((0.0, 0.45))
    assert combined(Terms(1.0, 0.5, 0.0), "product") == (0.0, 0.0)
