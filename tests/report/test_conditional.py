"""Conditional entropy and the paired bootstrap over questions against hand-computed values."""

import time

import numpy as np
import pytest

from sparkctl.method import tables
from sparkctl.method.episode import ACTIONS
from sparkctl.report.figures.conditional import (
    MEASURES,
    Counts,
    conditional_entropy_bits,
    counted,
    difference,
    draws,
    summed,
)
from sparkctl.report.figures.conditional import estimate as estimated
from sparkctl.report.figures.entropy import entropy as entropy_of
from sparkctl.report.figures.statistics import wilson
from sparkctl.report.figures.summary import summarise


def answer(question_id, correct, tools, sample_id=0):
    row = {"policy": "p", "question_id": question_id, "sample_id": sample_id, "category": "math", "tools": tools}
    return row | {"failed_calls": 0, "steps": 1, "output": "", "is_correct": correct}


def table(*rows):
    return tables.from_rows("answers", rows)


def measured(name, counts, resamples=200):
    return estimated(MEASURES[name](summed(counts, draws([len(c.asked) for c in counts], resamples))))


def synthetic(n, seed, right=0.8, types=2, each=1):
    """n questions, one tool call each out of two at even odds; `each` answers alike per question."""
    rng = np.random.default_rng(seed)
    calls = np.zeros((n, types, len(ACTIONS)))
    calls[np.arange(n), rng.integers(types, size=n), rng.integers(2, size=n)] = each
    return Counts(each * (rng.random(n) < right).astype(float), np.full(n, float(each)), calls)


def test_two_types_by_hand():
    # Type 1: 3 and 1 of 4 calls, H = 0.811278; type 2: one tool twice, H = 0. H(tool | type) = 4/6 * 0.811278.
    assert conditional_entropy_bits(np.array([[3.0, 1, 0], [0, 0, 2]])) == pytest.approx(4 / 6 * 0.8112781)


def test_a_tool_that_the_type_decides_has_no_entropy_within_type():
    assert conditional_entropy_bits(np.array([[5.0, 0], [0, 5]])) == 0.0


def test_types_that_choose_alike_have_the_entropy_of_all():
    assert conditional_entropy_bits(np.array([[4.0, 4], [1, 1]])) == pytest.approx(1.0)


def test_without_calls_entropy_is_zero():
    assert conditional_entropy_bits(np.zeros((2, 3))) == 0.0


def test_answers_are_counted_per_question_and_type_in_the_order_of_ids():
    rows = [answer(9, True, ["search"]), answer(3, False, ["cot", "cot"]), answer(9, False, ["search"], 1)]
    counts = counted(table(*rows), {3: "sum", 9: "fact"}, ["fact", "sum"])
    assert counts.correct.tolist() == [0, 1]
    assert counts.asked.tolist() == [1, 2]
    assert counts.tools[0, 1, ACTIONS.index("cot")] == 2
    assert counts.tools[1, 0, ACTIONS.index("search")] == 2
    assert counts.tools.sum() == 4


def test_the_figures_are_those_of_the_summary():
    """Draw 0 is the sample itself, whatever the order of its rows."""
    rows = [answer(i, i % 3 > 0, [ACTIONS[i % 5]] * (i % 2)) for i in (4, 2, 7, 1, 9, 5)]
    counts = [counted(table(*rows), dict.fromkeys(range(10), "t"), ["t"])]
    summary = summarise(table(*rows))
    assert measured("accuracy", counts).value == pytest.approx(summary.accuracy.value)
    # Four actions, once each; the summary's entropy is corrected besides.
    assert measured("entropy_bits", counts).value == pytest.approx(2.0)
    assert measured("entropy_within_type_bits", counts).value == pytest.approx(2.0)


def test_seeds_that_choose_differently_have_entropy_only_when_pooled():
    one, other = np.zeros((4, 1, len(ACTIONS))), np.zeros((4, 1, len(ACTIONS)))
    one[:, 0, 0] = other[:, 0, 1] = 1
    seeds = [Counts(np.ones(4), np.ones(4), tools) for tools in (one, other)]
    assert measured("entropy_bits", seeds).value == pytest.approx(1.0)
    assert measured("entropy_within_seed_bits", seeds).value == 0.0


def test_a_draw_has_as_many_questions_as_the_seed_and_is_the_same_each_time():
    first, again = draws([3, 5], 20), draws([3, 5], 20)
    assert [w.shape for w in first] == [(21, 3), (21, 5)]
    assert all((w.sum(1) == w.shape[1]).all() and (w[0] == 1).all() for w in first)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_identical_policies_differ_by_exactly_zero():
    counts = [synthetic(50, 0), synthetic(40, 1)]
    weights = draws([50, 40], 100)
    for measure in MEASURES.values():
        d = difference(measure, summed(counts, weights), summed(counts, weights))
        assert (d.value, d.low, d.high) == (0, 0, 0)


def test_a_constant_difference_has_an_interval_without_width():
    """One policy is right everywhere, one nowhere: each resample differs by 1."""
    weights = draws([30], 100)
    right, wrong = (summed([Counts(np.full(30, x), np.ones(30), np.zeros((30, 1, 9)))], weights) for x in (1.0, 0.0))
    d = difference(MEASURES["accuracy"], right, wrong)
    assert (d.value, d.low, d.high) == (1, 1, 1)


def test_pairing_narrows_the_difference_of_policies_that_agree():
    """Answers that differ on one question in a hundred: the difference is known far better than either accuracy."""
    base = synthetic(500, 0)
    better = base.correct.copy()
    better[np.flatnonzero(better == 0)[:5]] = 1
    weights = draws([500], 500)
    one, other = summed([Counts(better, base.asked, base.tools)], weights), summed([base], weights)
    d, alone = difference(MEASURES["accuracy"], one, other), estimated(MEASURES["accuracy"](other))
    assert d.value == pytest.approx(0.01)
    assert d.high - d.low < (alone.high - alone.low) / 2


def test_larger_clusters_widen_the_interval():
    """400 answers in 40 questions of ten answers alike: the interval is about sqrt(10) times wider."""
    for name in ("accuracy", "entropy_bits"):
        narrow, wide = measured(name, [synthetic(400, 3)]), measured(name, [synthetic(40, 3, each=10)])
        assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_the_intervals_are_about_those_of_the_summary():
    counts = synthetic(700, 4, types=1)
    accuracy, entropy = measured("accuracy", [counts], 1000), measured("entropy_bits", [counts], 1000)
    assert (accuracy.low, accuracy.high) == pytest.approx(wilson(int(counts.correct.sum()), 700), abs=0.005)
    theirs = entropy_of(counts.tools[:, 0].astype(int))
    moved = theirs.value - entropy.value  # the correction
    assert (entropy.low + moved, entropy.high + moved) == pytest.approx((theirs.low, theirs.high), abs=0.002)


def test_one_seed_alone_is_the_seed():
    counts = [synthetic(50, 0), synthetic(40, 1)]
    sums = summed(counts, draws([50, 40], 10))
    for index, one in enumerate(counts):
        assert MEASURES["accuracy"](sums.of_seed(index))[0] == pytest.approx(one.correct.mean())


def test_two_thousand_resamples_of_three_thousand_questions_take_seconds():
    begun = time.perf_counter()
    counts = [synthetic(1000, seed, types=6) for seed in range(3)]
    weights = draws([1000] * 3)
    for _ in range(5):
        sums = summed(counts, weights)
        assert all(len(measure(sums)) == 2001 for measure in MEASURES.values())
    assert time.perf_counter() - begun < 10
