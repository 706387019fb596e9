"""Reward terms of a step, and its advantage, from the raw ingredients that `select` kept.

reward = w_quality * score / 10  +  w_rarity * rarity  +  w_correctness * [the rollout's answer is right]

As in the paper: a composite of answer quality and tool diversity (SPaRK, abstract). Its formula and weights are not
public, so the terms, weights and baselines here are ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

HIGHEST_SCORE = 10.0
Baseline = Literal["none", "fork", "batch"]


@dataclass(frozen=True)
class Weights:
    """Weights of the reward's terms."""

    quality: float
    rarity: float
    correctness: float


@dataclass(frozen=True)
class Terms:
    """The weighted terms of one step's reward."""

    quality: float
    rarity: float
    correctness: float

    @property
    def reward(self) -> float:
        """Their sum."""
        return self.quality + self.rarity + self.correctness


def rarity(usage: Sequence[int], action: int) -> float:
    """How rare an action was when it was chosen: -log of its share of the choices so far, over log of their number of
    kinds; 1 for an action at the uniform share, 0 for the only one ever taken, at most 2. One count is added to each
    action, so that the first choices are neither infinite nor zero."""
    share = (usage[action] + 1) / (sum(usage) + len(usage))
    return min(2.0, -math.log(share) / math.log(len(usage)))


def terms(score: float, usage: Sequence[int], action: int, correct: bool, weights: Weights) -> Terms:
    """The weighted terms for a chosen action; `score` 0-10, `usage` the counts before the choice."""
    return Terms(
        weights.quality * score / HIGHEST_SCORE,
        weights.rarity * rarity(usage, action),
        weights.correctness * float(correct),
    )


def advantages(
    rewards: Sequence[float], fork_scores: Sequence[Sequence[float]], weights: Weights, baseline: Baseline
) -> list[float]:
    """Reward less baseline, per step.

    none   0: every viable choice is reinforced
    fork   the mean quality term of the judged candidates of the same state
    batch  the mean reward over all trained steps
    """
    if baseline == "none":
        return list(rewards)
    if baseline == "batch":
        mean = sum(rewards) / len(rewards)
        return [r - mean for r in rewards]
    means = [weights.quality * sum(s) / len(s) / HIGHEST_SCORE for s in fork_scores]
    return [r - m for r, m in zip(rewards, means, strict=True)]
