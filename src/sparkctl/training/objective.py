"""The objective of a recipe, composed from the parts in losses.py. The trainer knows nothing of what is composed here.

sft        negative log-likelihood of the trained action
ppo        gate(ratio(level), advantage, clip range): the step-wise PPO of SPaRK (arXiv 2507.11371, extended abstract)
expected   the exact expectation of the advantage over all judged actions of a state
each plus the regularisers whose weight is not zero
"""

from typing import Any

import torch

from sparkctl.training import losses
from sparkctl.training.packing import Batch

Metrics = dict[str, torch.Tensor]
"""Name -> (action,) values, detached."""


def objective(
    logprobs: torch.Tensor, batch: Batch, advantage: torch.Tensor, settings: Any
) -> tuple[torch.Tensor, Metrics]:
    """(action,): what training minimises, and what is worth knowing about it. `logprobs` (action, token) of the policy;
    `settings` as the train stage has them."""
    loss, metrics = _surrogate(logprobs, batch, advantage, settings)
    metrics["policy_loss"] = loss.detach()
    metrics["approx_kl"] = losses.approx_kl(logprobs.detach(), batch.start, batch.mask)
    if settings.objective != "sft":
        loss = loss + _regularised(logprobs, batch, advantage, settings)
        metrics["weight"] = losses.importance(logprobs.detach(), batch.start, batch.mask)
        metrics["weighed_reward"] = metrics["weight"] * batch.action_reward
    return loss, metrics


def _surrogate(
    logprobs: torch.Tensor, batch: Batch, advantage: torch.Tensor, settings: Any
) -> tuple[torch.Tensor, Metrics]:
    if settings.objective == "sft":
        return losses.nll(logprobs, batch.mask), {}
    if settings.objective == "expected":
        return -losses.expected(losses.over_fork(logprobs, batch.mask, batch.fork), advantage, batch.fork), {}
    ratios = losses.ratio(logprobs, batch.start, batch.mask, settings.ratio, batch.rollout)
    bounds = losses.clip_range(settings.clip, settings.clip_high or settings.clip)
    if settings.gate == "soft":
        value = losses.soft(ratios, advantage, settings.tau_pos, settings.tau_neg)
    else:
        value = losses.clipped(ratios, advantage, bounds, settings.dual_clip)
    metrics = {"clip_frac": losses.outside(ratios.detach(), batch.mask, bounds)}
    return -losses.per_action(value, batch.mask), metrics


def _regularised(logprobs: torch.Tensor, batch: Batch, advantage: torch.Tensor, settings: Any) -> torch.Tensor:
    """(action,): the weighted regularisers."""
    total = torch.zeros_like(advantage)
    if settings.kl and settings.kl_form == "fork":
        policy, start = (losses.over_fork(lp, batch.mask, batch.fork) for lp in (logprobs, batch.start))
        total = total + settings.kl * losses.kl_fork(policy, start, batch.fork)
    elif settings.kl:
        total = total + settings.kl * losses.kl(logprobs, batch.start, batch.mask, settings.kl_form)
    if settings.llds:
        total = total + settings.llds * losses.llds(logprobs, batch.start, batch.mask, advantage)
    return total
