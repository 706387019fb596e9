"""Reward terms of an action, and how they combine, from the raw ingredients that `select` kept. Plain numbers.

quality      score / 10                                          known of every judged candidate
rarity       how rare the action was when it was chosen          known of every judged candidate
correctness  whether the rollout's answer is right               known of the executed action only, never imputed

As in the paper: a composite of answer quality and tool diversity (SPaRK, arXiv 2507.11371, abstract). Its formula and
weights are not public, so the terms and weights here are ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

HIGHEST_SCORE = 10.0
Combine = Literal["sum", "product"]


@dataclass(frozen=True)
class Weights:
    """Weights of the reward's terms."""

    quality: float
    rarity: float
    correctness: float


@dataclass(frozen=True)
class Terms:
    """The weighted terms of one action's reward; `correctness` is None for an action that was not executed."""

    quality: float
    rarity: float
    correctness: float | None = None

    @property
    def local(self) -> float:
        """What is known without executing: the sum of the judge's term and the rarity's."""
        return self.quality + self.rarity

    @property
    def outcome(self) -> float:
        """What only the executed action has."""
        return self.correctness or 0.0


def rarity(usage: Sequence[int], action: int) -> float:
    """How rare an action was when it was chosen: -log of its share of the choices so far, over log of their number of
    kinds; 1 for an action at the uniform share, 0 for the only one ever taken, at most 2. One count is added to each
    action, so that the first choices are neither infinite nor zero."""
    share = (usage[action] + 1) / (sum(usage) + len(usage))
    return min(2.0, -math.log(share) / math.log(len(usage)))


def terms(score: float, usage: Sequence[int], action: int, correct: bool | None, weights: Weights) -> Terms:
    """The weighted terms of an action; `score` 0-10, `usage` the counts before the choice, `correct` None where the
    action was not executed."""
    return Terms(
        weights.quality * score / HIGHEST_SCORE,
        weights.rarity * rarity(usage, action),
        None if correct is None else weights.correctness * float(correct),
    )


def combined(given: Terms, combine: Combine) -> tuple[float, float]:
    """(what is compared among the candidates, what only the outcome adds); their sum is the reward.

    sum      the terms are added (our reading of SPaRK; ToolRL, arXiv 2504.13958, adds its terms too)
    product  a wrong rollout earns nothing, whatever its tools: quality and rarity count times correctness, so that
             neither can be farmed without being right (OTC, arXiv 2504.14870)
    """
    if combine == "sum":
        return given.local, given.outcome
    return 0.0, given.local * given.outcome
