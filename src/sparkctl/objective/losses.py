"""Losses on the trained tokens of a batch of steps, pure. Shapes: (step, token); `mask` is 1.0 where a token is trained.

Every loss is a mean over a step's tokens, then over steps: a long input weighs as much as a short one.
"""

from typing import Literal

import torch

Level = Literal["token", "action"]


def per_step(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(step,): mean of `values` over each step's trained tokens."""
    return (values * mask).sum(1) / mask.sum(1).clamp(min=1)


def nll(logprobs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(step,): negative log-likelihood per token; supervised fine-tuning."""
    return -per_step(logprobs, mask)


def ratio(logprobs: torch.Tensor, old: torch.Tensor, mask: torch.Tensor, level: Level) -> torch.Tensor:
    """(step, token): how much likelier than under the old policy.

    token   each token by itself (PPO, arXiv 1707.06347, eq. 6)
    action  exp of the mean log-difference over the action's tokens (GSPO, arXiv 2507.18071, eq. 7): a rare tool's name
            can move further than 1 + clip, while the action as a whole stays in the trust region
    """
    difference = (logprobs - old).clamp(-20, 20)
    if level == "action":
        difference = per_step(difference, mask)[:, None].expand_as(difference)
    return difference.exp()


def clipped(ratios: torch.Tensor, advantage: torch.Tensor, mask: torch.Tensor, clip: float) -> torch.Tensor:
    """(step,): minus the clipped surrogate min(r A, clip(r, 1 - c, 1 + c) A) (PPO, arXiv 1707.06347, eq. 7)."""
    worth = advantage[:, None]
    surrogate = torch.minimum(ratios * worth, ratios.clamp(1 - clip, 1 + clip) * worth)
    return -per_step(surrogate, mask)


def clip_frac(ratios: torch.Tensor, mask: torch.Tensor, clip: float) -> torch.Tensor:
    """(step,): share of trained tokens whose ratio is outside the clip range."""
    return per_step(((ratios - 1).abs() > clip).float(), mask)


def kl(logits: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(step,): exact KL(policy || reference) per token, over the whole vocabulary; logits are (step, token, vocabulary)."""
    policy, start = logits.log_softmax(-1), reference.log_softmax(-1)
    return per_step((policy.exp() * (policy - start)).sum(-1), mask)


def entropy(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(step,): entropy of the next-token distribution in nats, mean over trained tokens."""
    logprobs = logits.log_softmax(-1)
    return per_step(-(logprobs.exp() * logprobs).sum(-1), mask)
