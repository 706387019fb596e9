"""From rewards to advantages: one estimator for every group, a bounded nudge, and GAE over a rollout. Plain numbers."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np

Baseline = Literal["mean", "loo"]
Scale = Literal["none", "std"]
_TINY = 1e-6


def estimate(
    rewards: Sequence[float], groups: Sequence[Hashable] | None, baseline: Baseline = "mean", scale: Scale = "none"
) -> list[float]:
    """Reward less its group's baseline, over its group's scale; a group is what the reward is compared with.

    groups    None: the reward itself, every action that earns something is reinforced (REINFORCE without baseline).
              Else one label per reward: the fork's (nine candidates of one state), the question's (its rollouts) or
              one for all
    baseline  mean of the group (GRPO, arXiv 2402.03300); loo: mean of the others (RLOO,
              arXiv 2402.14740), which is the mean's scaled by n / (n - 1), and 0 for a group of one
    scale     std of the group, as GRPO has it; none keeps what a judge's point is worth equal in all groups
              (Dr. GRPO, arXiv 2503.20783)
    """
    if groups is None:
        return list(rewards)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        members[group].append(place)
    values, advantages = np.asarray(rewards, dtype=float), np.zeros(len(rewards))
    for places in members.values():
        advantages[places] = _within(values[places], baseline, scale)
    return [float(a) for a in advantages]


def _within(values: np.ndarray, baseline: Baseline, scale: Scale) -> np.ndarray:
    differences = values - values.mean()
    if np.ptp(values) == 0:
        return np.zeros_like(values)  # the mean of equal floats may differ from them in the last bit
    if baseline == "loo":
        differences = differences * len(values) / (len(values) - 1)
    return np.asarray(differences / (values.std() + _TINY) if scale == "std" else differences)


def nudge(advantage: float, bonus: float, cap: float) -> float:
    """The advantage moved by a bonus, by no more than `cap` times its own size: with cap < 1 it never changes sign
    (ASPO, arXiv 2508.19201, with the bonus left free)."""
    bound = cap * abs(advantage)
    return advantage + min(max(bonus, -bound), bound)


def gae(rewards: Sequence[float], values: Sequence[float], gamma: float, lam: float) -> list[float]:
    """Generalised advantage estimates of the steps of one finished rollout (GAE, arXiv 1506.02438, eq. 16).

    A_t = sum_l (gamma lam)^l d_{t+l},  d_t = r_t + gamma V_{t+1} - V_t,  V after the last step = 0
    """
    later, following, advantages = 0.0, 0.0, []
    for reward, value in zip(reversed(rewards), reversed(values), strict=True):
        later = reward + gamma * following - value + gamma * lam * later
        following = value
        advantages.append(later)
    return advantages[::-1]
