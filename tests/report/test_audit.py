"""The credit audit against a table counted by hand."""

import pytest

from sparkctl.method import tables
from sparkctl.report.figures.audit import audit


def row(step, tool, advantage=None, dropped=None, **terms):
    base = {"rollout_id": "q1-s0", "step_idx": step, "tool_name": tool, "trained_tokens": 0 if dropped else 4}
    return base | {"advantage": advantage, "dropped_because": dropped} | terms


def test_signal_sums_and_reasons():
    rows = [
        row(1, "search", 0.5, quality=0.7, rarity=0.3, correctness=0.3, reward=1.3),
        row(2, "search", -1.0, quality=0.1, rarity=0.0, reward=0.1),
        row(3, "cot", 0.0, quality=1.0, rarity=0.0, correctness=0.0, reward=1.0),
        row(4, "cot", dropped="not judged"),
        row(5, None, dropped="no candidate has a score"),
        row(6, "cot", dropped="not judged"),
    ]
    found = audit(tables.from_rows("credit", rows), {"quality": 0.2, "rarity": 0.049, "correctness": 0.05}, 0.05)
    assert (found["actions"], found["trained"], found["trained_tokens"]) == (6, 3, 12)
    assert found["signal"] == pytest.approx(2 / 6)  # of all six: what is dropped teaches nothing
    assert found["sums"] == pytest.approx(
        {"quality": 1.8, "rarity": 0.3, "correctness": 0.3, "reward": 2.4, "advantage": -0.5}
    )
    assert (found["spreads"]["quality"], found["not_acting"]) == (0.2, ["rarity"])
    assert found["by_action"] == {"search": {"trained": 2, "advantage": -0.25}, "cot": {"trained": 1, "advantage": 0.0}}
    assert found["dropped"] == {"not judged": 2, "no candidate has a score": 1}


def test_of_imitation_no_term_is_summed():
    found = audit(tables.from_rows("credit", [row(1, "cot", 1.0)]), {}, 0.05)
    assert found["sums"] == {"quality": None, "rarity": None, "correctness": None, "reward": None, "advantage": 1.0}
    assert audit(tables.empty("credit"), {}, 0.05)["signal"] == 0.0
