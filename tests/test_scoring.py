"""What must hold of scoring: official mode is MMLU-Pro's own to the letter, strict mode takes commitments alone."""

import re
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparkctl import scoring
from sparkctl.errors import SparkError
from sparkctl.scoring import guess, read_official, read_strict
from support import SHARED

SAMPLE = SHARED / "mmlu_pro" / "official_outputs_sample.parquet"
OPTIONS = ["alpha", "beta", "gamma", "A man"]


def published(text):
    """extract_answer, extract_again and extract_final of MMLU-Pro's evaluate_from_local.py, their patterns as they are."""
    if found := re.search(r"answer is \(?([A-J])\)?", text):
        return found[1]
    if found := re.search(r".*[aA]nswer:\s*([A-J])", text):
        return found[1]
    found = re.search(r"\b[A-J]\b(?!.*\b[A-J]\b)", text, re.DOTALL)
    return found[0] if found else None


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


_PIECES = [
    "answer is ",
    "answer is (",
    "Answer:",
    "answer:",
    *"ABJK",
    "a",
    "_",
    "\n",
    "\r",
    "\x85",
    " ",
    "  ",
    "1",
    "é",
]


@settings(max_examples=2000, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*_PIECES, "Ω", ")", ".", ": "]), max_size=25).map("".join))
@example("answer: Answer: B")  # the letter of one hit is the start of the next
@example("Answer:\n\nB\nAnswer: C")
@example("x A\n_B_ B1 éC")
def test_the_linear_rules_equal_the_published_ones(text):
    assert read_official(text) == published(text)


@pytest.mark.parametrize(
    "unit",
    ["A_ ", "answer: ", "Answer:\n", "answer is ", "\\boxed{", "answer: A man\n", "answer ", "Question:\n", "is A or "],
)
def test_time_grows_with_length_not_with_its_square(unit):
    """A megabyte. The published patterns would take hours on some of these."""
    text = (unit * (2**20 // len(unit)))[: 2**20]
    begun = time.perf_counter()
    read_official(text)
    read_strict(text, OPTIONS)
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        # The three forms, in the dress that models give them.
        ("So the answer is (B).", "B"),
        ("The answer is B", "B"),
        ("The correct answer is: **B. beta**", "B"),
        ("**Answer:** C", "C"),
        ("**Answer**: C", "C"),
        ("ANSWER: C", "C"),
        ("Answer:\n\n(C) gamma", "C"),
        ("answer is option (C).", "C"),
        ("The answer choice is B", "B"),
        (r"Hence $\boxed{B}$.", "B"),
        (r"\[ \boxed{\mathbf{(B)}} \]", "B"),
        (r"The answer is $\boxed{C}$.", "C"),
        ("the answer is B because it is", "B"),
        # The last commitment counts; words that name no option are none.
        ("The answer is (A). Wait. The answer is (B).", "B"),
        (r"\boxed{A}, or rather: answer is C.", "C"),
        ("The answer is (B). The answer is not listed.", "B"),
        ("answer is C, A is wrong", "C"),
        # An option's whole text, up to the end of the line.
        ("Answer: Gamma.", "C"),
        ("Answer: gamma\nThis follows from x.", "C"),
        (r"\boxed{\text{beta}}", "B"),
        ("Answer: A man", "D"),
        ("the answer is gamma rays", None),
        # What is no commitment to one option.
        ("I would say B.", None),
        ("Answer: Because", None),
        ("The answer is A man who", None),
        ("The answer is I think B", None),
        ("the answer is C = 5", None),
        ("The answer is (A) or (B).", None),
        ("Answer: A, B and C.", None),
        ("Answer: A/B", None),
        ("answer: c", None),
        ("", None),
        # A letter beyond the options is a commitment to none; an earlier one does not come back.
        ("The answer is (E).", None),
        ("The answer is (B). No: Answer: E", None),
        (r"\boxed{Z}", None),
        # Base models go on with questions of their own.
        ("The answer is (B).\n\nQuestion: next?\nThe answer is (C).", "B"),
        ("I cannot say.\nQuestion:\nwhat?\nAnswer: C", None),
        ("Question: the one asked\nAnswer: B\n", "B"),
    ],
)
def test_strict_reads_the_last_commitment(output, letter):
    assert read_strict(output, OPTIONS) == letter


def test_strict_strips_options_and_takes_the_first_of_two_equal_ones():
    assert read_strict("Answer: rain", ["snow", " rain", "rain"]) == "B"
    assert read_strict("Answer: E. coli", ["yeast", "E. coli"]) == "B"
    # A blank option keeps its letter and is never meant by saying nothing.
    assert read_strict("Answer:", ["", "x"]) is None
    assert read_strict("Answer: A", ["", "x"]) == "A"


def test_the_guess_is_even_seeded_and_knows_only_the_question():
    drawn = [guess(i, ["x"] * 4, 0) for i in range(4000)]
    counts = [drawn.count(letter) for letter in "ABCD"]
    # 1,000 each expected; the binomial standard error is 27.
    assert sum(counts) == 4000
    assert max(abs(count - 1000) for count in counts) < 110
    assert drawn == [guess(i, ["x"] * 4, 0) for i in range(4000)]
    assert drawn != [guess(i, ["x"] * 4, 1) for i in range(4000)]
    assert {guess(i, ["x", "y", "N/A", "N/A"], 0) for i in range(100)} == {"A", "B"}


def test_a_guess_decides_official_rows_whatever_their_order_and_leaves_answer_read_null():
    rows = [(i, "nothing to read", ["x", "y", "z"], guess(i, "xyz", 7)) for i in range(20)]
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
