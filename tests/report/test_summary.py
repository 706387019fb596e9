"""Summary statistics against hand-computed values and scipy."""

import numpy as np
import pytest
from scipy.stats import binomtest

from sparkctl import tables
from sparkctl.report.statistics import wilson
from sparkctl.report.summary import bootstrap_entropy, entropy_bits, summarise, tool_counts


def answer(question_id, correct, tools, **changes):
    row = {
        "policy": "p",
        "question_id": question_id,
        "sample_id": 0,
        "category": "math",
        "tools": tools,
        "failed_calls": 0,
    }
    return row | {"steps": len(tools) + 1, "output": "", "answer": "A", "is_correct": correct} | changes


def test_a_summary_by_hand():
    rows = [
        answer(1, True, ["search"]),
        answer(2, False, ["search", "cot"], category="law"),
        answer(3, True, ["calculator"], failed_calls=1),
        answer(4, False, [], answer=None, error="too long", steps=0),
    ]
    s = summarise(tables.from_rows("answers", rows))
    assert (s.accuracy, s.n, s.extraction_failed, s.errors, s.failed_calls) == (0.5, 4, 1, 1, 1)
    # Counts 2, 1, 1: H = 0.5 * 1 + 2 * 0.25 * 2 = 1.5 bits.
    assert s.tool_entropy_bits == pytest.approx(1.5)
    assert (s.tool_share["search"], s.tool_share["cot"], s.tool_share["wikipedia"]) == (0.5, 0.25, 0.0)
    assert s.accuracy_by_category == {"law": 0.0, "math": pytest.approx(2 / 3)}
    assert s.accuracy_macro == pytest.approx(1 / 3)
    assert s.steps_per_question == pytest.approx((2 + 3 + 2 + 0) / 4)


def test_answers_that_cannot_be_read_are_told_apart_from_none_and_from_failed_calls():
    none, no_option = " t\nAction: search\nInput: x", " t\nAction: cot\nInput: Answer: a hat"
    rows = [
        answer(1, True, [], output=" t\nAction: cot\nInput: Answer: A"),
        answer(2, False, [], output=no_option, answer=None),
        answer(3, False, ["search"] * 5, output=none, answer=None),
        answer(4, False, [], output="gibberish", answer=None),
        answer(5, False, [], output=none, answer=None, error="too long"),
    ]
    found = summarise(tables.from_rows("answers", rows)).as_json()
    assert (found["extraction_failed"], found["named_no_option"], found["errors"], found["n"]) == (4, 1, 1, 5)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (651, 700)])
def test_wilson_equals_scipy(k, n):
    theirs = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_entropy_of_uniform_and_of_one():
    assert entropy_bits(np.array([3] * 9)) == pytest.approx(np.log2(9))
    assert entropy_bits(np.array([7, 0, 0])) == 0.0
    assert entropy_bits(np.array([0, 0, 0])) == 0.0


def test_counts_are_grouped_by_question():
    counts = tool_counts([["cot"], ["search"], ["cot", "cot"]], [5, 6, 5])
    assert counts.sum(1).tolist() == [3, 1]


def test_the_interval_holds_the_true_entropy_about_as_often_as_it_says():
    draw, hits = np.random.default_rng(0), 0
    share = np.array([0.5, 0.25, 0.25])
    for _ in range(100):
        counts = draw.multinomial(1, share, size=400)
        low, high = bootstrap_entropy(counts)
        hits += low <= 1.5 <= high
    # 95 of 100 expected; binomial standard error 2.2, so 88 is three below.
    assert hits >= 88


def test_the_interval_is_over_questions_not_choices():
    """The same choices in fewer, larger clusters are worth less: the interval is wider."""
    rng = np.random.default_rng(1)
    one_each = rng.multinomial(1, [0.5, 0.5], size=400)
    clustered = 10 * rng.multinomial(1, [0.5, 0.5], size=40)
    narrow, wide = (np.diff(bootstrap_entropy(c))[0] for c in (one_each, clustered))
    assert wide > 2 * narrow


def test_several_samples_of_a_question_are_not_independent_answers():
    rows = [answer(q, q % 2 == 0, ["search"], sample_id=k) for q in range(1, 11) for k in range(4)]
    s = summarise(tables.from_rows("answers", rows))
    # Four times the same answer to ten questions: as sure as ten answers.
    assert (s.accuracy, s.n) == (0.5, 40)
    assert s.accuracy_ci == pytest.approx(wilson(5, 10))
