"""Parts of the objective on log-probs of trained tokens, pure. Shapes: (action, token); `mask` is 1.0 where a token is
trained. Every loss is a mean over an action's tokens: a long input weighs as much as a short one.

    loss = - gate(ratio(level), advantage, clip_range)  +  kl * regulariser  +  llds * regulariser

A further method is a further small function here and a word in objective.py.
"""

from typing import Literal

import torch

Level = Literal["token", "action", "sequence"]
KlForm = Literal["k1", "k3", "fork"]
FARTHEST = 20.0
"""Bound of a log-difference before exp: beyond it a float32 ratio says nothing."""


def per_action(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(action,): mean of `values` over each action's trained tokens."""
    return (values * mask).sum(1) / mask.sum(1).clamp(min=1)


def nll(logprobs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(action,): negative log-likelihood per token; supervised fine-tuning."""
    return -per_action(logprobs, mask)


# ---- ratio -----------------------------------------------------------------------------------------------------------


def ratio(
    logprobs: torch.Tensor, old: torch.Tensor, mask: torch.Tensor, level: Level, rollout: torch.Tensor
) -> torch.Tensor:
    """(action, token): how much likelier than under the old policy; `rollout` (action,) says whose each action is.

    token     each token by itself (PPO, arXiv 1707.06347, eq. 6)
    action    exp of the mean log-difference over the action's tokens (GSPO, arXiv 2507.18071, eq. 7): a rare tool's
              name can move further than 1 + clip, while the action as a whole stays in the trust region
    sequence  the same over all trained tokens of the rollout
    """
    difference = (logprobs - old).clamp(-FARTHEST, FARTHEST)
    if level == "action":
        difference = per_action(difference, mask)[:, None].expand_as(difference)
    elif level == "sequence":
        sums = _over_rollout((difference * mask).sum(1), rollout)
        tokens = _over_rollout(mask.sum(1), rollout).clamp(min=1)
        difference = (sums / tokens)[:, None].expand_as(difference)
    return difference.exp()


def _over_rollout(values: torch.Tensor, rollout: torch.Tensor) -> torch.Tensor:
    """(action,): the sum of `values` over all actions of the same rollout."""
    sums = values.new_zeros(int(rollout.max()) + 1).index_add(0, rollout, values)
    return sums[rollout]


# ---- clip range and gate ---------------------------------------------------------------------------------------------


def clip_range(low: float, high: float) -> tuple[float, float]:
    """The ratios between which the gradient flows: (1 - low, 1 + high). Equal: PPO (arXiv 1707.06347, eq. 7);
    high > low: clip-higher, which leaves rare tokens room to rise (DAPO, arXiv 2503.14476)."""
    return 1.0 - low, 1.0 + high


def clipped(
    ratios: torch.Tensor, advantage: torch.Tensor, bounds: tuple[float, float], dual: float | None = None
) -> torch.Tensor:
    """(action, token): min(r A, clip(r) A), to be maximised (PPO, arXiv 1707.06347, eq. 7).

    dual  where A < 0 the value is held above dual * A, so that a bad action that became far likelier cannot dominate
          an update (dual-clip, arXiv 1912.09729); dual > 1
    """
    worth = advantage[:, None]
    value = torch.minimum(ratios * worth, ratios.clamp(*bounds) * worth)
    if dual is None:
        return value
    return torch.where(worth < 0, torch.maximum(value, dual * worth), value)


def soft(ratios: torch.Tensor, advantage: torch.Tensor, tau_pos: float, tau_neg: float) -> torch.Tensor:
    """(action, token): 4 / tau * sigmoid(tau (r - 1)) * A, to be maximised: a gate without a cliff whose slope at r = 1
    is 1 (SAPO, arXiv 2511.20347); tau_pos where A > 0, tau_neg elsewhere."""
    worth = advantage[:, None]
    tau = torch.where(worth > 0, tau_pos, tau_neg)
    return 4.0 / tau * torch.sigmoid(tau * (ratios - 1.0)) * worth


def outside(ratios: torch.Tensor, mask: torch.Tensor, bounds: tuple[float, float]) -> torch.Tensor:
    """(action,): share of trained tokens whose ratio is outside the clip range."""
    return per_action(((ratios < bounds[0]) | (ratios > bounds[1])).float(), mask)


# ---- the fork --------------------------------------------------------------------------------------------------------


def over_fork(logprobs: torch.Tensor, mask: torch.Tensor, fork: torch.Tensor) -> torch.Tensor:
    """(action,): log-probability of each action among the trained actions of its fork: softmax of the mean token
    log-prob, since actions differ in length. `fork` (action,) says of which state each action is."""
    means = per_action(logprobs, mask)
    forks = int(fork.max()) + 1
    highest = means.detach().new_full((forks,), -torch.inf).scatter_reduce(0, fork, means.detach(), "amax")
    shifted = (means - highest[fork]).exp()
    return means - highest[fork] - shifted.new_zeros(forks).index_add(0, fork, shifted)[fork].log()


def expected(log_share: torch.Tensor, advantage: torch.Tensor, fork: torch.Tensor) -> torch.Tensor:
    """(action,): p(a | s) A(s, a), to be maximised, times the number of actions in the fork, so that the mean over a
    fork is the exact expectation over it. All nine are judged, so nothing is sampled and no ratio is needed (all-action
    policy gradient, Mean Actor Critic, arXiv 1709.00503, restricted to the judged actions). `log_share` as `over_fork` gives it."""
    size = torch.bincount(fork)[fork]
    return log_share.exp() * advantage * size


# ---- regularisers ----------------------------------------------------------------------------------------------------


def kl(logprobs: torch.Tensor, start: torch.Tensor, mask: torch.Tensor, form: Literal["k1", "k3"]) -> torch.Tensor:
    """(action,): distance from the frozen start per token, estimated at the trained tokens (Schulman, "Approximating
    KL divergence", 2020).

    k1  lp - lp_start: unbiased on the policy's own samples; on stored ones its gradient lowers every likelihood alike
    k3  exp(-k1) - 1 + k1: never negative, 0 only at the start; pulls both ways (GRPO, arXiv 2402.03300)
    """
    k1 = (logprobs - start).clamp(-FARTHEST, FARTHEST)
    return per_action(k1 if form == "k1" else torch.expm1(-k1) + k1, mask)


def kl_fork(log_share: torch.Tensor, start_share: torch.Tensor, fork: torch.Tensor) -> torch.Tensor:
    """(action,): exact KL(policy || start) over the judged actions of the fork, split so that the mean over a fork is
    its KL. Both as `over_fork` gives them."""
    return expected(log_share, log_share - start_share, fork)


def approx_kl(logprobs: torch.Tensor, old: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(action,): r - 1 - log r per token: estimates KL(old || policy) from samples of the old policy; never negative
    (Schulman, "Approximating KL divergence", 2020, k3). The figure that PPO implementations log under this name."""
    difference = (logprobs - old).clamp(-FARTHEST, FARTHEST)
    return per_action(torch.expm1(difference) - difference, mask)


def llds(logprobs: torch.Tensor, old: torch.Tensor, mask: torch.Tensor, advantage: torch.Tensor) -> torch.Tensor:
    """(action,): how far the tokens of a good action sank below the old policy, where the action as a whole did:
    mean over tokens of max(0, lp_old - lp) if the sum of lp_old - lp is positive and A >= 0, else 0 (likelihood
    displacement regulariser, LLDS, arXiv 2512.04220). Keeps the likelihood of what should be learnt from sinking."""
    sunk = (old - logprobs).clamp(-FARTHEST, FARTHEST)
    counts = (((sunk * mask).sum(1) > 0) & (advantage >= 0)).float()
    return per_action(sunk.clamp(min=0), mask) * counts


# ---- what is watched -------------------------------------------------------------------------------------------------


def importance(logprobs: torch.Tensor, old: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(action,): how much likelier the whole action is than under the old policy, the product over its tokens: what
    weighs an action of the old policy in a mean under the new one (Precup et al. 2000; Owen 2013, ch. 9)."""
    return ((logprobs - old) * mask).sum(1).clamp(-FARTHEST, FARTHEST).exp()


def entropy(logprobs: torch.Tensor) -> torch.Tensor:
    """(place,): entropy of next-token distributions in nats; `logprobs` (place, vocabulary)."""
    return -(logprobs.exp() * logprobs).sum(-1)
