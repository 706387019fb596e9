"""Reward terms against numbers worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkctl.training.rewards import Terms, Weights, combined, over_viable, policy_rarity, policy_shares, rarity, terms

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


def test_the_policys_shares_are_means_over_states_of_what_it_finds_likely():
    log = math.log
    # 3 : 1 in the first state; in the second the first action has no candidate, so the second is all there is.
    assert policy_shares([[log(0.3), log(0.1)], [math.nan, log(0.5)]]) == pytest.approx([0.375, 0.625])
    assert policy_shares([[math.nan, math.nan], [-2000.0, -2000.0]]) == [0.25, 0.25]  # a failed state; no underflow


def test_the_policys_rarity_is_half_at_the_uniform_share_and_at_most_one():
    assert [policy_rarity(share, 9) for share in (1.0, 1 / 3, 1 / 9, 1 / 27)] == pytest.approx([0, 0.25, 0.5, 0.75])
    assert policy_rarity(1 / 81, 9) == policy_rarity(1e-9, 9) == policy_rarity(0.0, 9) == 1.0


def test_rarity_is_compared_with_what_the_policy_would_take_of_the_viable():
    rarities, logprobs = [0.2, 0.6, 1.0, 0.1], [math.log(p) for p in (0.3, 0.1, 0.1, 0.5)]
    # Viable: the first two, which the policy takes 3 : 1, so that it may expect 0.75 * 0.2 + 0.25 * 0.6 = 0.3.
    made = over_viable(rarities, logprobs, [True, True, False, False])
    assert made == pytest.approx([-0.1, 0.3, 0.0, 0.0])
    assert over_viable(rarities, logprobs, [False, False, True, False]) == [0.0] * 4  # no choice, no diversity
    assert over_viable(rarities, logprobs, [False] * 4) == [0.0] * 4


STATES = st.lists(st.tuples(st.floats(0, 1), st.floats(-60, 0), st.booleans()), min_size=1, max_size=9)


@given(STATES, st.floats(-1, 1))
def test_over_viable_the_policy_expects_nothing_and_only_viable_actions_are_paid(state, more):
    rarities, logprobs, viable = zip(*state, strict=True)
    made = over_viable(rarities, logprobs, viable)
    weights = [math.exp(lp) * good for lp, good in zip(logprobs, viable, strict=True)]
    assert sum(w * m for w, m in zip(weights, made, strict=True)) == pytest.approx(0.0, abs=1e-9)
    assert all(m == 0 for m, good in zip(made, viable, strict=True) if not good)
    assert over_viable([r + more for r in rarities], logprobs, viable) == pytest.approx(made)  # only differences count


def test_terms_are_weighted():
    made = terms(score=7.0, rare=1.0, correct=True, weights=WEIGHTS)
    # 2 * 0.7, 0.5 * 1, 3 * 1
    assert (made.quality, made.rarity, made.correctness) == pytest.approx((1.4, 0.5, 3.0))
    assert (made.local, made.outcome) == pytest.approx((1.9, 3.0))
    assert terms(7.0, 1.0, False, WEIGHTS).correctness == 0


def test_correctness_is_not_imputed_to_what_was_not_executed():
    made = terms(7.0, 1.0, None, WEIGHTS)
    assert (made.correctness, made.outcome) == (None, 0.0)


def test_sum_adds_and_product_pays_only_where_right():
    assert combined(Terms(1.0, 0.5, 0.3), "sum") == (1.5, 0.3)
    # (1 + 0.5) * 0.3, all of it known only once the rollout has ended
    assert combined(Terms(1.0, 0.5, 0.3), "product") == pytest.approx((0.0, 0.45))
    assert combined(Terms(1.0, 0.5, 0.0), "product") == (0.0, 0.0)
