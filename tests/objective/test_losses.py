"""Losses against numbers worked out by hand. Tolerances are float32 rounding, 1e-6 relative."""

import math

import pytest
import torch

from sparkctl.objective import losses

MASK = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def close(tensor, wanted):
    assert tensor.tolist() == pytest.approx(wanted, rel=1e-6)


def test_a_long_step_weighs_as_much_as_a_short_one():
    close(losses.per_step(torch.tensor([[1.0, 3.0, 99.0], [5.0, 99.0, 99.0]]), MASK), [2.0, 5.0])


def test_nll():
    close(losses.nll(torch.tensor([[-1.0, -2.0, -9.0], [-4.0, -9.0, -9.0]]), MASK), [1.5, 4.0])


def test_ratio_by_token_and_by_action():
    new = torch.log(torch.tensor([[0.5, 0.2, 0.9], [0.3, 0.9, 0.9]]))
    old = torch.log(torch.tensor([[0.25, 0.1, 0.1], [0.1, 0.1, 0.1]]))
    close(losses.ratio(new, old, MASK, "token")[0, :2], [2.0, 2.0])
    # Mean log-difference of the first action: (ln 2 + ln 2) / 2; of the second: ln 3.
    close(losses.ratio(new, old, MASK, "action")[:, 0], [2.0, 3.0])


def test_one_rare_token_in_an_action_of_eight_may_rise_more_than_fourfold_before_the_action_is_clipped():
    mask = torch.ones(1, 8)
    difference = torch.zeros(1, 8)
    difference[0, 0] = 8 * math.log(1.2)
    close(losses.ratio(difference, torch.zeros(1, 8), mask, "action")[0, :1], [1.2])
    assert math.exp(float(difference[0, 0])) == pytest.approx(4.2998, abs=1e-4)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.0, 2.0, -2.0, -2.0),  # inside: r A
        (1.5, 2.0, -2.4, 0.0),  # gain clipped at 1.2
        (0.5, 2.0, -1.0, -2.0),  # worse than before: the gradient stays
        (1.5, -2.0, 3.0, 2.0),  # a bad action that became likelier: the gradient stays
        (0.5, -2.0, 1.6, 0.0),  # a bad action far enough down: clipped at 0.8
        (1.0, 0.0, 0.0, 0.0),
    ],
)
def test_clipped_surrogate(ratio, advantage, loss, gradient):
    r = torch.tensor([[ratio]], requires_grad=True)
    value = losses.clipped(r, torch.tensor([advantage]), torch.ones(1, 1), clip=0.2)
    value.sum().backward()
    assert value.item() == pytest.approx(loss, rel=1e-6)
    assert r.grad.item() == pytest.approx(gradient, rel=1e-6)


def test_clip_frac_counts_trained_tokens_only():
    ratios = torch.tensor([[1.3, 1.1, 9.0], [0.79, 9.0, 9.0]])
    close(losses.clip_frac(ratios, MASK, 0.2), [0.5, 1.0])


def test_kl_of_two_coins():
    policy = torch.tensor([0.5, 0.5]).log().expand(1, 1, 2)
    start = torch.tensor([0.25, 0.75]).log().expand(1, 1, 2)
    # 0.5 ln(0.5 / 0.25) + 0.5 ln(0.5 / 0.75) = 0.143841
    close(losses.kl(policy, start, torch.ones(1, 1)), [0.143841036])
    close(losses.kl(policy, policy, torch.ones(1, 1)), [0.0])


def test_entropy_of_a_fair_coin_is_ln_2():
    close(losses.entropy(torch.zeros(1, 1, 2), torch.ones(1, 1)), [math.log(2)])
