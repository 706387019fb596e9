"""The parts of the objective against numbers worked out by hand. Tolerances are float32 rounding, 1e-6 relative."""

import math

import pytest
import torch

from sparkctl.training import losses

MASK = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
ONE = torch.ones(1, 1)
ALONE = torch.tensor([0, 1])


def close(tensor, wanted):
    assert tensor.tolist() == pytest.approx(wanted, rel=1e-6)


def test_a_long_action_weighs_as_much_as_a_short_one():
    close(losses.per_action(torch.tensor([[1.0, 3.0, 99.0], [5.0, 99.0, 99.0]]), MASK), [2.0, 5.0])


def test_nll():
    close(losses.nll(torch.tensor([[-1.0, -2.0, -9.0], [-4.0, -9.0, -9.0]]), MASK), [1.5, 4.0])


def test_ratio_by_token_by_action_and_by_sequence():
    new = torch.log(torch.tensor([[0.5, 0.2, 0.9], [0.3, 0.9, 0.9]]))
    old = torch.log(torch.tensor([[0.25, 0.05, 0.1], [0.1, 0.1, 0.1]]))
    close(losses.ratio(new, old, MASK, "token", ALONE)[0, :2], [2.0, 4.0])
    # Mean log-difference of the first action: (ln 2 + ln 4) / 2 = ln sqrt 8; of the second: ln 3.
    close(losses.ratio(new, old, MASK, "action", ALONE)[:, 0], [math.sqrt(8), 3.0])
    # Both in one rollout: (ln 2 + ln 4 + ln 3) / 3 = ln 24^(1/3); each in its own: as by action.
    close(losses.ratio(new, old, MASK, "sequence", torch.tensor([0, 0]))[:, 0], [24 ** (1 / 3)] * 2)
    close(losses.ratio(new, old, MASK, "sequence", ALONE)[:, 0], [math.sqrt(8), 3.0])


def test_one_rare_token_in_an_action_of_eight_may_rise_more_than_fourfold_before_the_action_is_clipped():
    mask = torch.ones(1, 8)
    difference = torch.zeros(1, 8)
    difference[0, 0] = 8 * math.log(1.2)
    close(losses.ratio(difference, torch.zeros(1, 8), mask, "action", torch.tensor([0]))[0, :1], [1.2])
    assert math.exp(float(difference[0, 0])) == pytest.approx(4.2998, abs=1e-4)


@pytest.mark.parametrize(
    ("ratio", "advantage", "high", "dual", "value", "slope"),
    [
        (1.0, 2.0, 0.2, None, 2.0, 2.0),  # inside: r A
        (1.5, 2.0, 0.2, None, 2.4, 0.0),  # gain clipped at 1.2
        (1.5, 2.0, 0.6, None, 3.0, 2.0),  # clip-higher: 1.6 leaves it room
        (0.5, 2.0, 0.2, None, 1.0, 2.0),  # worse than before: the gradient stays
        (1.5, -2.0, 0.2, None, -3.0, -2.0),  # a bad action that became likelier: the gradient stays
        (9.0, -2.0, 0.2, 3.0, -6.0, 0.0),  # ... but with dual clip no lower than 3 A
        (1.5, -2.0, 0.2, 3.0, -3.0, -2.0),  # ... and unchanged above it
        (0.5, -2.0, 0.2, None, -1.6, 0.0),  # a bad action far enough down: clipped at 0.8
        (1.0, 0.0, 0.2, None, 0.0, 0.0),
    ],
)
def test_clipped_surrogate(ratio, advantage, high, dual, value, slope):
    r = torch.tensor([[ratio]], requires_grad=True)
    made = losses.clipped(r, torch.tensor([advantage]), losses.clip_range(0.2, high), dual)
    made.sum().backward()
    assert made.item() == pytest.approx(value, rel=1e-6)
    assert r.grad.item() == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_the_soft_gate_has_slope_one_at_the_start_and_flattens(advantage):
    slopes = []
    for at in (1.0, 3.0):
        r = torch.tensor([[at]], requires_grad=True)
        losses.soft(r, torch.tensor([advantage]), tau_pos=1.5, tau_neg=4.0).sum().backward()
        slopes.append(r.grad.item() / advantage)
    assert slopes[0] == pytest.approx(1.0, rel=1e-6)
    # 4 s (1 - s) with s = sigmoid(tau * 2): 4 * 0.952574 * 0.047426 = 0.180707 at tau 1.5, 0.001341 at tau 4
    assert slopes[1] == pytest.approx(0.180707 if advantage > 0 else 0.001341, rel=1e-3)


def test_clip_frac_counts_trained_tokens_only():
    ratios = torch.tensor([[1.3, 1.1, 9.0], [0.79, 9.0, 9.0]])
    close(losses.outside(ratios, MASK, losses.clip_range(0.2, 0.2)), [0.5, 1.0])
    close(losses.outside(ratios, MASK, losses.clip_range(0.25, 0.4)), [0.0, 0.0])


# ---- the fork --------------------------------------------------------------------------------------------------------

FORK = torch.tensor([0, 0, 0, 1])


def test_shares_of_a_fork_are_the_softmax_of_mean_log_probs():
    logprobs = torch.log(torch.tensor([[0.4, 0.1], [0.2, 0.0001], [0.4, 0.9], [0.5, 0.5]]))
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    # Means: ln sqrt(0.04) = ln 0.2, ln 0.2, ln 0.4; the second fork has one action.
    close(losses.over_fork(logprobs, mask, FORK).exp(), [0.25, 0.25, 0.5, 1.0])


def test_expected_advantage_and_its_gradient():
    logits = torch.tensor([0.0, 0.0, math.log(2), 0.7], requires_grad=True)
    advantage = torch.tensor([1.0, -1.0, 3.0, 5.0])
    share = losses.over_fork(logits[:, None], torch.ones(4, 1), FORK)
    made = losses.expected(share, advantage, FORK)
    # Shares 1/4, 1/4, 1/2: expectation 0.25 - 0.25 + 1.5 = 1.5, the mean over the fork's three; 5 in the other.
    close(made.detach(), [0.75, -0.75, 4.5, 5.0])
    (made[:3].mean() + made[3]).backward()
    # dJ/dlogit = p (A - J): 0.25 (1 - 1.5), 0.25 (-1 - 1.5), 0.5 (3 - 1.5); an action alone has no choice.
    assert logits.grad.tolist() == pytest.approx([-0.125, -0.625, 0.75, 0.0], abs=1e-6)


def test_kl_of_a_fork_is_exact():
    policy = torch.tensor([0.5, 0.25, 0.25, 1.0]).log()
    start = torch.tensor([0.25, 0.25, 0.5, 1.0]).log()
    made = losses.kl_fork(policy, start, FORK)
    # 0.5 ln 2 + 0 + 0.25 ln 0.5 = 0.25 ln 2
    assert made[:3].mean().item() == pytest.approx(0.25 * math.log(2), rel=1e-6)
    assert made[3].item() == 0.0


# ---- regularisers ----------------------------------------------------------------------------------------------------


def test_k1_and_k3():
    policy, start = torch.tensor([[math.log(0.5)]]), torch.tensor([[math.log(0.25)]])
    close(losses.kl(policy, start, ONE, "k1"), [math.log(2)])
    # exp(-ln 2) - 1 + ln 2
    close(losses.kl(policy, start, ONE, "k3"), [math.log(2) - 0.5])
    close(losses.kl(start, policy, ONE, "k3"), [2 - 1 - math.log(2)])
    close(losses.kl(start, start, ONE, "k3"), [0.0])


@pytest.mark.parametrize(("at", "slope"), [(math.log(2), 0.5), (-math.log(2), -1.0), (0.0, 0.0)])
def test_k3_pulls_back_from_both_sides(at, slope):
    lp = torch.tensor([[at]], requires_grad=True)
    losses.kl(lp, torch.zeros(1, 1), ONE, "k3").sum().backward()
    assert lp.grad.item() == pytest.approx(slope, abs=1e-6)  # 1 - exp(-d)


def test_approx_kl_is_that_of_ppo():
    # r = 2: 2 - 1 - ln 2; r = 1/2: 1/2 - 1 + ln 2
    old = torch.zeros(1, 2)
    new = torch.tensor([[math.log(2), -math.log(2)]])
    close(losses.approx_kl(new, old, torch.ones(1, 2)), [(1 - math.log(2) - 0.5 + math.log(2)) / 2])


def test_llds_acts_only_on_good_actions_that_sank_as_a_whole():
    old = torch.zeros(4, 2)
    new = torch.tensor([[-0.3, 0.1], [-0.3, 0.4], [-0.3, 0.1], [-0.3, -0.1]])
    advantage = torch.tensor([1.0, 1.0, -1.0, 0.0])
    # 1: sank by 0.2 in all, tokens 0.3 and 0; 2: rose in all; 3: bad; 4: tokens 0.3 and 0.1
    close(losses.llds(new, old, torch.ones(4, 2), advantage), [0.15, 0.0, 0.0, 0.2])


def test_entropy_of_a_fair_coin_is_ln_2():
    close(losses.entropy(torch.tensor([[0.5, 0.5]]).log()), [math.log(2)])
