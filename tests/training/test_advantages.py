"""Advantages against numbers worked out by hand, and what must hold of any."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkctl.training.advantages import estimate, gae, nudge

REWARDS = st.lists(st.floats(-10, 10), min_size=1, max_size=12)


def test_without_a_group_the_reward_is_the_advantage():
    assert estimate([4.0, 1.0], None) == [4.0, 1.0]


def test_mean_and_leave_one_out_of_a_group():
    rewards, groups = [1.0, 2.0, 6.0, 5.0], ["a", "a", "a", "b"]
    assert estimate(rewards, groups) == [-2.0, -1.0, 3.0, 0.0]
    # Less the mean of the others: 1 - 4, 2 - 3.5, 6 - 1.5; one alone has no others.
    assert estimate(rewards, groups, "loo") == [-3.0, -1.5, 4.5, 0.0]


def test_scaled_by_the_groups_own_deviation():
    # Deviations of (0, 2) and (0, 20) are 1 and 10.
    made = estimate([0.0, 2.0, 0.0, 20.0], [0, 0, 1, 1], "mean", "std")
    assert made == pytest.approx([-1.0, 1.0, -1.0, 1.0], rel=1e-5)


@given(REWARDS, st.sampled_from(["mean", "loo"]), st.sampled_from(["none", "std"]))
def test_advantages_of_a_group_sum_to_zero_and_a_constant_moves_nothing(rewards, baseline, scale):
    groups = [0] * len(rewards)
    made = estimate(rewards, groups, baseline, scale)
    assert sum(made) == pytest.approx(0.0, abs=1e-6)
    assert estimate([1.0] * len(rewards), groups, baseline, scale) == [0.0] * len(rewards)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 0.99))
def test_a_nudge_never_turns_the_sign(advantage, bonus, cap):
    made = nudge(advantage, bonus, cap)
    assert made * advantage >= 0
    assert abs(made - advantage) <= cap * abs(advantage) + 1e-12


def test_a_nudge_by_hand():
    assert nudge(2.0, 0.3, 0.5) == 2.3
    assert nudge(2.0, 9.0, 0.5) == 3.0
    assert nudge(-2.0, 9.0, 0.5) == -1.0


def test_gae_by_hand():
    # gamma 0.5, lambda 0.5; deltas: 1 + 0.5 * 4 - 2 = 1, 3 + 0.5 * 6 - 4 = 2, 8 - 6 = 2
    # A3 = 2, A2 = 2 + 0.25 * 2 = 2.5, A1 = 1 + 0.25 * 2.5 = 1.625
    assert gae([1.0, 3.0, 8.0], [2.0, 4.0, 6.0], 0.5, 0.5) == [1.625, 2.5, 2.0]


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=6))
def test_at_lambda_one_gae_is_what_is_still_to_come_less_the_value(steps):
    rewards, values = zip(*steps, strict=True)
    made = gae(rewards, values, 1.0, 1.0)
    assert made == pytest.approx([sum(rewards[t:]) - values[t] for t in range(len(steps))], abs=1e-9)
