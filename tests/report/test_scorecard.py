"""The scorecard against figures worked out by hand."""

import pyarrow as pa
import pytest
from scipy.stats import binomtest

from sparkctl.report.scorecard import scorecard


def scored(rows):
    """(category, answer_read, is_correct) each."""
    return pa.table(
        dict(zip(("category", "answer_read", "is_correct"), map(list, zip(*rows, strict=True)), strict=True))
    )


def test_a_scorecard_by_hand():
    card = scorecard(
        scored([("law", "A", True), ("art", "B", False), ("law", None, False), ("law", None, True), ("law", "C", True)])
    )
    # law 3 of 4, art 0 of 1: micro 3/5, macro (3/4 + 0) / 2.
    assert card.overall.accuracy == pytest.approx(0.6)
    assert card.macro == pytest.approx(0.375)
    assert (card.overall.n, card.overall.extraction_failed, card.overall.guessed_right) == (5, 2, 1)
    assert list(card.categories) == ["art", "law"]
    assert (card.categories["law"].n, card.categories["law"].accuracy) == (4, 0.75)
    theirs = binomtest(3, 4).proportion_ci(method="wilson")
    assert card.categories["law"].accuracy_ci == pytest.approx((theirs.low, theirs.high))
    shown = card.as_json()
    assert (shown["n"], shown["micro"], shown["macro"], shown["extraction_failed"]) == (5, 0.6, 0.375, 2)
    assert shown["categories"]["art"]["accuracy"] == 0.0


def test_without_categories_there_is_no_macro_average():
    card = scorecard(scored([("law", "A", True), ("art", "B", False)]).drop_columns(["category"]))
    assert (card.overall.accuracy, card.macro, card.categories) == (0.5, None, {})
