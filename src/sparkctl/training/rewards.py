"""Reward terms of an action, and how they combine, from the raw ingredients that `select` kept. Plain numbers.

quality      score / 10                                            known of every judged candidate
rarity       how rare the action is, see `rarity`, `policy_rarity`  known of every judged candidate
correctness  whether the rollout's answer is right                 known of the executed action only, never imputed

Rarity against the *selection's* usage tells tools hardly apart: rarity-first selection makes that usage uniform. Against
the *policy's* own shares it does, and then needs a baseline of its own (`over_viable`): the action that answers is the
policy's commonest, mostly the only viable one, and would be unlearnt for being common.

As in the paper: a composite of answer quality and tool diversity (SPaRK, arXiv 2507.11371, abstract). Its formula and
weights are not public, so the terms and weights here are ours.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

NAMES = ("quality", "rarity", "correctness")
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


def policy_shares(states: Iterable[Sequence[float]]) -> list[float]:
    """(action,): what the policy takes by itself: the mean over states of its probability of each action. A state is the
    log-probs of the actions' names, NaN where there is no candidate; they are normalised over the others."""
    shares = [_probabilities(state) for state in states]
    return [sum(column) / len(shares) for column in zip(*shares, strict=True)]


def _probabilities(logprobs: Sequence[float]) -> list[float]:
    """Their softmax; NaN counts for nothing."""
    highest = max((lp for lp in logprobs if not math.isnan(lp)), default=0.0)
    parts = [0.0 if math.isnan(lp) else math.exp(lp - highest) for lp in logprobs]
    return [part / (sum(parts) or 1.0) for part in parts]


def policy_rarity(share: float, kinds: int) -> float:
    """-log of an action's share of the policy's own choices, over twice the log of their number of kinds: 0 for the only
    one, 1/2 at the uniform share, at most 1 (with nine kinds a share of 1/81), so that its range is that of quality and
    correctness."""
    return 1.0 if share <= kinds**-2 else -math.log(share) / (2 * math.log(kinds))


def over_viable(rarities: Sequence[float], logprobs: Sequence[float], viable: Sequence[bool]) -> list[float]:
    """(action,): how much rarer than what the policy would take of the viable ones, which is their rarity weighed by its
    probabilities (`logprobs` as in `policy_shares`). 0 where an action is not viable, or is the only one: diversity is
    a choice among actions that would do, and only there is it paid for."""
    weights = _probabilities([lp if good else math.nan for lp, good in zip(logprobs, viable, strict=True)])
    expected = sum(weight * rare for weight, rare in zip(weights, rarities, strict=True))
    alone = sum(viable) < 2
    return [rare - expected if good and not alone else 0.0 for rare, good in zip(rarities, viable, strict=True)]


def terms(score: float, rare: float, correct: bool | None, weights: Weights) -> Terms:
    """The weighted terms of an action; `score` 0-10, `rare` by one of the functions above, `correct` None where the
    action was not executed."""
    return Terms(
        weights.quality * score / HIGHEST_SCORE,
        weights.rarity * rare,
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
