"""The selection rules, pure and vectorised over states: which of the nine judged candidates is taken.

`rarest_viable`   of the viable the action selected least often so far; ties: higher score, then action order
`lowest_viable`   the lowest of the viable scores; ties: action order
`best`            the highest score; ties: action order
`softmax`         one viable candidate, drawn with probability proportional to exp(score / temperature)

The paper's extended abstract names two rules that differ, "less-frequently used but still viable" and "the
lowest-scoring tool among those that pass" (arXiv 2507.11371); both are here. Viable means a score of at least the
threshold or, as the paper says ("above 6.0"), above it. A candidate without a score is never viable.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sparkctl.method.episode import ACTIONS, COT

Rule = Literal["rarest_viable", "lowest_viable", "best", "softmax"]
Viable = Literal["at_least", "above"]
NONE = -1
_ONLY_COT = np.array([action == COT for action in ACTIONS])
_BLOCK = 50_000


@dataclass(frozen=True)
class Selection:
    """The choice per state. Shapes: (state,) and (state, action)."""

    chosen: NDArray[np.int64]
    """Index into ACTIONS, or -1 where nothing was selected."""
    viable: NDArray[np.int64]
    """How many candidates were viable."""
    answered: NDArray[np.bool_]
    """Whether `cot` was taken for the answer that it gives, whatever the rule."""
    usage: NDArray[np.int64]
    """(state, action): how often each action had been selected before this choice."""


def select(
    scores: NDArray[np.float64],
    usage: NDArray[np.int64],
    *,
    rule: Rule,
    threshold: float,
    viable: Viable = "at_least",
    answers: NDArray[np.bool_] | None = None,
    when_none_viable: Literal["best", "end"] = "best",
    cot_competes: bool = True,
    temperature: float = 1.0,
    seed: int = 0,
) -> Selection:
    """Choose for every state, in row order.

    `scores`: (state, action), 0-10, NaN where not judged. `usage`: (action,), counts before the first state; every
    choice, a fallback too, is counted before the next state is looked at. `cot_competes=False` leaves `cot` out
    wherever a tool is viable. `when_none_viable`: take the best score all the same, or select nothing. `answers`:
    (state,), where a viable `cot` is taken whatever the rule and `cot_competes`, since it answers and nothing comes after.
    """
    passing = is_viable(scores, threshold, viable)
    competing = passing if cot_competes else _without_cot(passing)
    answered = passing[:, ACTIONS.index(COT)] & (False if answers is None else answers)
    competing = np.where(answered[:, None], _ONLY_COT, competing)
    if rule == "softmax":
        chosen = _softmax(scores, competing, temperature, seed)
    else:
        chosen = _first(_preferred(scores, rule), competing)
    if when_none_viable == "best":
        fallback = _first(_preferred(scores, "best"), ~np.isnan(scores))
        chosen = np.where(competing.any(1), chosen, fallback)
    if rule == "rarest_viable":
        chosen = _rarest(scores, competing, chosen, usage)
    return Selection(chosen, passing.sum(1), answered, usage + _taken_before(chosen))


def is_viable(score: Any, threshold: float, viable: Viable) -> Any:
    """Whether a score, or each of an array, is viable; NaN never is."""
    return score > threshold if viable == "above" else score >= threshold


def _without_cot(viable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    competing = viable.copy()
    cot = ACTIONS.index(COT)
    tools = np.delete(viable, cot, axis=1)
    competing[:, cot] &= ~tools.any(1)
    return competing


def _preferred(scores: NDArray[np.float64], rule: Rule) -> NDArray[np.int64]:
    """(state, action): action indices from the most to the least preferred by score alone."""
    worth = scores if rule == "lowest_viable" else -scores
    return np.argsort(np.nan_to_num(worth, nan=np.inf), axis=1, kind="stable")


def _first(order: NDArray[np.int64], allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first allowed action of each row's order, NONE where there is none."""
    ranked = np.take_along_axis(allowed, order, axis=1)
    first = np.take_along_axis(order, ranked.argmax(1)[:, None], axis=1)[:, 0]
    return np.where(ranked.any(1), first, NONE)


def _softmax(
    scores: NDArray[np.float64], allowed: NDArray[np.bool_], temperature: float, seed: int
) -> NDArray[np.int64]:
    logits = np.where(allowed, scores / temperature, -np.inf)
    top = np.where(allowed.any(1), logits.max(1, initial=-np.inf), 0.0)
    mass = np.exp(logits - top[:, None]).cumsum(1)
    drawn = np.random.default_rng(seed).random(len(scores)) * mass[:, -1]
    return np.where(allowed.any(1), (mass > drawn[:, None]).argmax(1), NONE)


def _rarest(
    scores: NDArray[np.float64], allowed: NDArray[np.bool_], fallback: NDArray[np.int64], usage: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Each choice moves the counts that the next one looks at, so this one loop runs over the states one by one."""
    counts = [int(count) for count in usage]
    chosen = np.empty(len(scores), np.int64)
    for start in range(0, len(scores), _BLOCK):
        part = slice(start, start + _BLOCK)
        order = _preferred(scores[part], "best")
        width = np.take_along_axis(allowed[part], order, axis=1)
        # Allowed actions first, best score first: `min` keeps the first of equals, so ties go to the higher score.
        order = np.take_along_axis(order, np.argsort(~width, axis=1, kind="stable"), axis=1)
        picks = []
        for row, n, other in zip(order.tolist(), width.sum(1).tolist(), fallback[part].tolist(), strict=True):
            pick = min(row[:n], key=counts.__getitem__) if n else other
            if pick != NONE:
                counts[pick] += 1
            picks.append(pick)
        chosen[part] = picks
    return chosen


def _taken_before(chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """(state, action): how often each action was chosen in earlier rows."""
    taken = np.zeros((len(chosen) + 1, len(ACTIONS)), np.int64)
    rows = np.flatnonzero(chosen != NONE)
    taken[rows + 1, chosen[rows]] = 1
    return taken.cumsum(0)[:-1]
