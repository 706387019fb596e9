"""What must hold of scoring a table: each row by the rules of its mode, in order, and faulty ones by name."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.tables_and_fakes import SHARED
from sparkctl.errors import SparkError
from sparkctl.method import scoring
from sparkctl.method.answers import guess

SAMPLE = SHARED / "mmlu_pro" / "official_outputs_sample.parquet"
OPTIONS = ["alpha", "beta", "gamma", "A man"]


def outputs(*rows, **changes):
    """A table of outputs: (question_id, model_output, options, answer) each."""
    names = ("question_id", "model_output", "options", "answer")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)) | changes
    return pa.table(columns)


@pytest.mark.skipif(not SAMPLE.exists(), reason="the real model outputs are not on this machine")
def test_official_reads_800_of_800_real_outputs_like_the_published_code():
    table = pq.read_table(SAMPLE)
    scored = scoring.score(table, "official", 0, "sample").to_pylist()
    wanted = table["official_pred"].to_pylist()
    assert [row["answer_read"] for row in scored] == wanted
    assert len(wanted) == 800
    # Where a letter was read, it alone decides.
    for row, read, answer in zip(scored, wanted, table["answer"].to_pylist(), strict=True):
        assert read is None or row["is_correct"] == (read == answer)


def test_a_guess_decides_official_rows_whatever_their_order_and_leaves_answer_read_null():
    rows = [(i, "nothing to read", ["x", "y", "z"], guess(i, "xyz", 7).letter) for i in range(20)]
    hit = scoring.score(outputs(*rows), "official", 7, "f")
    assert hit["answer_read"].null_count == 20
    assert all(hit["is_correct"].to_pylist())
    backwards = scoring.score(outputs(*rows[::-1]), "official", 7, "f")
    assert backwards.to_pylist() == hit.to_pylist()[::-1]
    assert not any(scoring.score(outputs(*rows), "strict", 7, "f")["is_correct"].to_pylist())


@pytest.mark.parametrize("mode", ["official", "strict"])
def test_no_output_is_wrong_and_not_guessed(mode):
    rows = [(i, None, ["x"], "A") for i in range(3)]  # one option: any guess would hit
    table = outputs(*rows, model_output=pa.array([None] * 3, pa.string()))
    assert scoring.score(table, mode, 0, "f").to_pylist() == [
        {"question_id": i, "answer_read": None, "is_correct": False} for i in range(3)
    ]


@pytest.mark.parametrize("mode", ["official", "strict"])
def test_an_output_whose_call_failed_is_neither_right_nor_wrong_nor_guessed(mode):
    rows = [(1, None, ["x"], "A"), (2, "Answer: A", ["x"], "A"), (3, "Answer: A", ["x"], "A")]
    scored = scoring.score(outputs(*rows, error=["down", None, "cut off"]), mode, 0, "f")
    assert scored["is_correct"].to_pylist() == [None, True, None]
    assert scored["answer_read"].to_pylist()[::2] == [None, None]
    with pytest.raises(SparkError, match="f: column 'error' is"):
        scoring.score(outputs(*rows, error=[[1], [2], [3]]), mode, 0, "f")


def test_rows_keep_their_order_category_and_repeated_ids():
    rows = [(5, "Answer: B", OPTIONS, "B"), (3, "Answer: A", OPTIONS, "B"), (5, "?", OPTIONS, "B")]
    scored = scoring.score(outputs(*rows, category=["law", "art", "law"], model=["x", "y", "z"]), "strict", 0, "f")
    assert scored.column_names == ["question_id", "category", "answer_read", "is_correct"]
    assert [tuple(row.values()) for row in scored.to_pylist()] == [
        (5, "law", "B", True),
        (3, "art", "A", False),
        (5, "law", None, False),
    ]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ((1, "x", ["a", "b"], "C"), "f: row 1: column 'answer' is 'C', must be one of A to B"),
        ((1, "x", ["a", "b"], "a"), "column 'answer' is 'a'"),
        ((1, "x", ["a", "b"], ""), "column 'answer' is ''"),
        ((1, "x", ["a"] * 11, "A"), "f: row 1: column 'options' has 11 options; give 1 to 10"),
        ((1, "x", [], "A"), "column 'options' has 0 options"),
        ((1, "x", ["a", None], "A"), "column 'options' has a null inside a list"),
        ((1, "x", ["a"], None), "column 'answer' is"),
        ((None, "x", ["a"], "A"), "column 'question_id' is"),
    ],
)
def test_a_faulty_row_is_named(row, says):
    with pytest.raises(SparkError, match=re.escape(says)):
        scoring.score(outputs(row), "strict", 0, "f")
