"""What several samples of a question are worth: pass@k and the majority vote, with Wilson's intervals. Pure."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import comb

import numpy as np
import pyarrow as pa

from sparkctl.report.figures.finished import finished
from sparkctl.report.figures.statistics import Estimate, proportion


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Probability that at least one of k samples is right, estimated without bias from `samples` of which `right` are.

    1 - C(n - c, k) / C(n, k): the share of all choices of k samples that hold a right one (Chen et al. 2021, eq. 1).
    """
    return 1 - comb(samples - right, k) / comb(samples, k)


def majority(given: Sequence[str | None]) -> str | None:
    """The answer given most often, among equals the one given first; None where none was given."""
    votes = Counter(answer for answer in given if answer is not None)
    return max(votes, key=votes.__getitem__, default=None)  # a Counter keeps the order in which answers came


def passing(answers: pa.Table) -> dict[str, Estimate]:
    """pass@k for k = 1, 2, 4, ... and for all samples, and the accuracy of the vote; empty where a question has one sample.

    Samples vote in their order. Where questions differ in their number of samples, k goes up to the least. Samples that a
    failed call ended do not count: pass@k is of the questions with k others, the vote of those with any.
    """
    n = min(Counter(answers["question_id"].to_pylist()).values())
    given: dict[int, list[tuple[str | None, bool]]] = defaultdict(list)
    columns = ["question_id", "answer", "is_correct", "extracted_by"]
    for row in finished(answers).sort_by("sample_id").select(columns).to_pylist():
        # A question's guesses are all the same letter: they may hit, but have no vote.
        voted = None if row["extracted_by"] == "guess" else row["answer"]
        given[row["question_id"]].append((voted, row["is_correct"]))
    if n < 2:
        return {}
    ks = [*(2**i for i in range(n.bit_length()) if 2**i < n), n]
    found = {f"pass@{k}": _passed([of for of in given.values() if len(of) >= k], k, n // k) for k in ks}
    found["majority_vote"] = proportion(np.array([_voted_right(of) for of in given.values()]), np.ones(len(given)))
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _passed(given: Sequence[Sequence[tuple[str | None, bool]]], k: int, draws: int) -> Estimate | None:
    """pass@k. A question's samples hold so many draws of k: for k = 1 the interval is that of accuracy, for all of one yes
    or no."""
    passed = np.array([pass_at_k(len(of), sum(right for _, right in of), k) for of in given])
    return proportion(passed * draws, np.full(len(given), draws))


def _voted_right(given: Sequence[tuple[str | None, bool]]) -> float:
    voted = majority([answer for answer, _ in given])
    return float(voted is not None and (voted, True) in given)
