"""Does a judge say the same twice? Two scores of each candidate, the second with the nine in another order."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sparkctl.method.selection import Viable, is_viable

State = tuple[str, int]
"""(rollout_id, step_idx)"""
Scores = Mapping[State, Mapping[str, float | None]]
"""State -> action -> score 0-10, None where it was not judged."""


@dataclass(frozen=True)
class Reliability:
    """How two passes of a judge agree. `None` where nothing can be said."""

    states: int
    candidates: int
    """Scored in both passes; all that follows is about them."""
    unscored: int
    """Not scored in at least one of them."""
    alpha: float | None
    """Krippendorff's alpha, interval level: 1 agreement, 0 as by chance. None if all scores are the same."""
    mean_shift: float | None
    """Second less first, in points."""
    mean_change: float | None
    """Absolute, in points."""
    crossed: float | None
    """Share of the candidates that are viable in one pass and not in the other."""
    viable_set_changed: float | None
    """Share of the states of which that holds for at least one candidate."""
    threshold: float
    viable: Viable
    """Whether the threshold itself is viable."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def reliability(first: Scores, second: Scores, threshold: float, viable: Viable = "at_least") -> Reliability:
    """Compare two passes over the same states; a candidate is viable as in `selection`."""
    pairs = [(state, a, second[state].get(tool)) for state, scores in first.items() for tool, a in scores.items()]
    both = [(state, a, b) for state, a, b in pairs if a is not None and b is not None]
    crossed = [state for state, a, b in both if len({is_viable(score, threshold, viable) for score in (a, b)}) > 1]
    n, states = len(both), len({state for state, _, _ in both})
    return Reliability(
        states=len(first),
        candidates=n,
        unscored=len(pairs) - n,
        alpha=_alpha([(a, b) for _, a, b in both]),
        mean_shift=sum(b - a for _, a, b in both) / n if n else None,
        mean_change=sum(abs(b - a) for _, a, b in both) / n if n else None,
        crossed=len(crossed) / n if n else None,
        viable_set_changed=len(set(crossed)) / states if n else None,
        threshold=threshold,
        viable=viable,
    )


def _alpha(pairs: list[tuple[float, float]]) -> float | None:
    if len({score for pair in pairs for score in pair}) < 2:
        return None
    from nltk.metrics.agreement import AnnotationTask  # two seconds to import
    from nltk.metrics.distance import interval_distance

    data = [(judge, i, score) for i, pair in enumerate(pairs) for judge, score in enumerate(pair)]
    return float(AnnotationTask(data, distance=interval_distance).alpha())
