"""The scorecard against figures worked out by hand."""

import io

import pyarrow as pa
import pytest
from rich.console import Console
from scipy.stats import binomtest

from sparkctl.errors import SparkError
from sparkctl.report import terminal
from sparkctl.report.figures.scorecard import scorecard
from sparkctl.report.figures.statistics import wilson


def scored(rows, questions=None):
    """(category, answer_read, is_correct) each; a question each, unless told otherwise."""
    columns = dict(zip(("category", "answer_read", "is_correct"), map(list, zip(*rows, strict=True)), strict=True))
    return pa.table({"question_id": questions or list(range(len(rows)))} | columns)


def test_a_scorecard_by_hand():
    card = scorecard(
        scored([("law", "A", True), ("art", "B", False), ("law", None, False), ("law", None, True), ("law", "C", True)])
    )
    # law 3 of 4, art 0 of 1: micro 3/5, macro (3/4 + 0) / 2.
    assert card.overall.accuracy == pytest.approx(0.6)
    # Wilson's interval of .375 for n = 2^2 / (1/4 + 1/1) = 3.2.
    assert (card.macro.value, card.macro.low, card.macro.high) == pytest.approx((0.375, 0.079170, 0.807217), abs=1e-6)
    assert (card.overall.n, card.overall.extraction_failed, card.overall.guessed_right) == (5, 2, 1)
    assert list(card.categories) == ["art", "law"]
    assert (card.categories["law"].n, card.categories["law"].accuracy) == (4, 0.75)
    theirs = binomtest(3, 4).proportion_ci(method="wilson")
    assert card.categories["law"].accuracy_ci == pytest.approx((theirs.low, theirs.high))
    shown = card.as_json()
    assert shown["macro_ci"] == pytest.approx((0.079170, 0.807217), abs=1e-6)
    assert (shown["n"], shown["micro"], shown["macro"], shown["extraction_failed"]) == (5, 0.6, 0.375, 2)
    assert shown["categories"]["art"]["accuracy"] == 0.0


def test_failed_calls_are_counted_apart():
    rows = [("law", "A", True), ("art", None, None), ("law", None, False), ("law", None, None)]
    card = scorecard(scored(rows))
    # law 1 of 2; of art nothing is known.
    assert (card.overall.n, card.overall.accuracy, card.overall.extraction_failed, card.errors) == (2, 0.5, 1, 2)
    assert (list(card.categories), card.macro.value) == (["law"], 0.5)
    assert card.as_json()["errors"] == 2
    text = io.StringIO()
    terminal.scores(Console(file=text, width=100), card, "strict")
    assert "errors: 2 further outputs, whose calls failed; in no figure." in text.getvalue()
    with pytest.raises(SparkError, match="column 'error': each of 2 calls failed; there is nothing to score"):
        scorecard(scored([rows[1], rows[3]]))


def test_without_categories_there_is_no_macro_average():
    card = scorecard(scored([("law", "A", True), ("art", "B", False)]).drop_columns(["category"]))
    assert (card.overall.accuracy, card.macro, card.categories) == (0.5, None, {})
    assert card.as_json()["macro_ci"] is None


def test_the_same_output_a_hundred_times_says_no_more_than_once():
    rows = [("law" if q < 6 else "art", "A", q % 2 == 0) for q in range(10) for _ in range(100)]
    card = scorecard(scored(rows, [q for q in range(10) for _ in range(100)]))
    assert (card.overall.n, card.overall.questions, card.overall.accuracy) == (1000, 10, 0.5)
    assert card.overall.accuracy_ci == pytest.approx(wilson(5, 10))
    assert card.categories["law"].accuracy_ci == pytest.approx(wilson(3, 6))
    assert card.categories["art"].accuracy_ci == pytest.approx(wilson(2, 4))
