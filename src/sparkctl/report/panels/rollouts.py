"""Parts of the report about the training rollouts: rounds, and whether the judge foretold the outcome."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparkctl.report import charts
from sparkctl.report.figures.statistics import wilson
from sparkctl.report.panels.panel import Chart, Panel, Row, mean_of, table_of, with_interval
from sparkctl.report.run_tables import Material


def rounds(run: Material) -> Panel | None:
    """How the rollouts went, step by step."""
    rows = [row for step in run.parts("candidates") if (row := _round(run, step))]
    if not rows:
        return None
    explains = (
        "One round is one step of all rollouts that go on. Not judged: failed calls, never counted as 0. Lost: of those that "
        "ended, by failed calls of the policy or the judge, neither right nor wrong."
    )
    return Panel("rounds", "Rounds of the rollouts", explains, table_of(rows))


def _round(run: Material, part: str) -> Row:
    scores = run.parts("scores").get(part)
    steps = run.parts("steps").get(part)
    taken = steps.to_pylist() if steps else []
    given = [score for score in scores["score"].to_pylist() if score is not None] if scores else []
    return {
        "step": int(part),
        "candidates": len(run.parts("candidates")[part]),
        "not_judged": len(scores) - len(given) if scores else None,
        "mean_score": sum(given) / len(given) if given else None,
        "rollouts": len(taken) if steps else None,
        "mean_score_taken": mean_of([r for r in taken if r["chosen_score"] is not None], "chosen_score"),
        "none_viable": sum(not row["viable"] for row in taken) if steps else None,
        "ended": sum(row["done"] for row in taken) if steps else None,
        "right": sum(row["is_correct"] is True for row in taken) if steps else None,
        "lost": sum(row["done"] and row["is_correct"] is None for row in taken) if steps else None,
    }


_EDGES = (0, 2, 4, 6, 8, 10)


def judged_outcomes(run: Material) -> Panel | None:
    """Whether rollouts that the judge scored higher end right more often."""
    ended = _ended(run)
    of = {
        "all steps": [(np.mean(scores), right) for scores, right in ended if scores],
        "before the last step": [(np.mean(scores[:-1]), right) for scores, right in ended if len(scores) > 1],
    }
    rows = [row for name, pairs in of.items() for row in _binned(name, pairs)]
    if not rows:
        return None
    ordered = {row["scores_of"]: row["pairs_ordered"] for row in rows}
    said = "; ".join(f"{name}: {'not known' if p is None else f'{p:.0%}'}" for name, p in ordered.items())

    def draw(prefix: str) -> list[Chart]:
        series: dict[str, dict[str, charts.Point]] = defaultdict(dict)
        for row in sorted(rows, key=lambda row: row["mean_score"]):
            series[row["scores_of"]][row["mean_score"]] = (row["right"], row["right_low"], row["right_high"])
        svg = charts.dots(f"{prefix}judged", series, "rollouts that ended right, by mean score", percent=True)
        told = "; ".join(
            f"{row['scores_of']}, {row['mean_score']}: {row['right']:.0%} of {row['rollouts']}" for row in rows
        )
        return [Chart(svg, f"Share of rollouts that ended right by the mean score of their actions. {told}.")]

    explains = (
        "Rollouts that ended, by the mean judge score of the actions taken; 95 % Wilson intervals. How often a right rollout "
        f"is scored above a wrong one, ties counted half (50 % is chance): {said}. The last step is usually the answer itself."
    )
    return Panel("judged_outcomes", "Judge scores against outcome", explains, table_of(rows), draw)


def _ended(run: Material) -> list[tuple[list[float], bool]]:
    """Of each rollout that ended, but not by an outage: the scores of its actions in order, without those not judged;
    whether it is right."""
    scores: dict[str, list[float]] = defaultdict(list)
    right: dict[str, bool] = {}
    for row in sorted(run.joined("steps"), key=lambda row: row["step_idx"]):
        if row["chosen_score"] is not None:
            scores[row["rollout_id"]].append(row["chosen_score"])
        if row["done"] and row["is_correct"] is not None:
            right[row["rollout_id"]] = row["is_correct"]
    return [(scores[rollout], correct) for rollout, correct in right.items()]


def _binned(name: str, pairs: Sequence[tuple[Any, bool]]) -> Iterator[Row]:
    if not pairs:
        return
    means, right = np.array([mean for mean, _ in pairs]), np.array([correct for _, correct in pairs])
    ordered = _pairs_ordered(means[right], means[~right])
    bins = np.minimum(np.digitize(means, _EDGES[1:]), len(_EDGES) - 2)
    for i in np.unique(bins):
        n, hits = int((bins == i).sum()), int(right[bins == i].sum())
        yield {
            "scores_of": name,
            "mean_score": f"{_EDGES[i]}-{_EDGES[i + 1]}",
            "rollouts": n,
            **with_interval("right", hits / n, wilson(hits, n)),
            "pairs_ordered": ordered,
        }


def _pairs_ordered(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> float | None:
    """Share of (right, wrong) pairs in which the right one is scored higher, ties counted half: the area under the ROC
    curve. None where there is no pair."""
    if not len(right) or not len(wrong):
        return None
    wrong = np.sort(wrong)
    below, upto = np.searchsorted(wrong, right), np.searchsorted(wrong, right, side="right")
    return float((below + upto).sum() / 2 / (len(right) * len(wrong)))
