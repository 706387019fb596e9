"""What must hold of reading: official is MMLU-Pro's own to the letter, strict takes commitments alone and never guesses."""

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparkctl.method.answers import Reading, guess, read_official, read_strict
from sparkctl.method.rollouts import answer_of

OPTIONS = ["alpha", "beta", "gamma", "A man"]


def letter(output, options=OPTIONS):
    """What strict reads, without how."""
    found = read_strict(output, options)
    return found and found.letter


def published(text):
    """extract_answer, extract_again and extract_final of MMLU-Pro's evaluate_from_local.py, their patterns as they are."""
    if found := re.search(r"answer is \(?([A-J])\)?", text):
        return found[1]
    if found := re.search(r".*[aA]nswer:\s*([A-J])", text):
        return found[1]
    found = re.search(r"\b[A-J]\b(?!.*\b[A-J]\b)", text, re.DOTALL)
    return found[0] if found else None


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
    found = read_official(text)
    assert (found and found.letter) == published(text)
    assert found is None or found.by == "official"


@pytest.mark.parametrize(
    "unit",
    [
        "A_ ",
        "answer: ",
        "Answer:\n",
        "answer is ",
        "\\boxed{",
        "answer: A man\n",
        "answer ",
        "Question:\n",
        "is A or ",
        "Answer: E.  ",
    ],
)
def test_time_grows_with_length_not_with_its_square(unit):
    """A megabyte. The published patterns would take hours on some of these."""
    text = (unit * (2**20 // len(unit)))[: 2**20]
    begun = time.perf_counter()
    read_official(text)
    read_strict(text, OPTIONS)
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize(
    ("output", "wanted"),
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
def test_strict_reads_the_last_commitment(output, wanted):
    assert letter(output) == wanted


def test_strict_strips_options_and_takes_the_first_of_two_equal_ones():
    assert letter("Answer: rain", ["snow", " rain", "rain"]) == "B"
    assert letter("Answer: E. coli", ["yeast", "E. coli"]) == "B"
    # A blank option keeps its letter and is never meant by saying nothing.
    assert letter("Answer:", ["", "x"]) is None
    assert letter("Answer: A", ["", "x"]) == "A"


def test_the_guess_is_even_seeded_and_knows_only_the_question():
    drawn = [guess(i, ["x"] * 4, 0).letter for i in range(4000)]
    counts = [drawn.count(letter) for letter in "ABCD"]
    # 1,000 each expected; the binomial standard error is 27.
    assert sum(counts) == 4000
    assert max(abs(count - 1000) for count in counts) < 110
    assert drawn == [guess(i, ["x"] * 4, 0).letter for i in range(4000)]
    assert drawn != [guess(i, ["x"] * 4, 1).letter for i in range(4000)]
    assert {guess(i, ["x", "y", "N/A", "N/A"], 0).letter for i in range(100)} == {"A", "B"}


COLOURS = ["red", "blue", "green", "grey", "pink"]
NASTY = {
    # One option, in the dress of models.
    "**C**": "C",
    r"\boxed{C}": "C",
    r"$\boxed{\text{C}}$.": "C",
    "option C": "C",
    "C, green": "C",
    "(C) green": "C",
    "( C )": "C",
    "C: it is green": "C",
    "C\nBecause it is so.": "C",
    "C\u2028because it is so.": "C",
    "C - as grass": "C",
    "C\N{EM DASH}as grass": "C",
    "C. It is green.": "C",
    "C. green": "C",
    "C.green": "C",
    "C. GREEN, as grass is": "C",
    "**C. green**": "C",
    "C. because it is green": "C",
    "C .": "C",
    "Green.": "C",
    '"green"': "C",
    "green\nas grass": "C",
    "the answer is C": "C",
    # Several, or a letter that is part of something else: a guess to read either.
    "(A)/(B)": None,
    "A) or B)": None,
    "(A) OR (B)": None,
    "(A)(B)": None,
    "(A) [B]": None,
    "A (or B)": None,
    "A? Or B?": None,
    "A; B": None,
    "A & B": None,
    "A-C": None,
    "A\N{EN DASH}C": None,
    "(A) to (C)": None,
    "(A) + (B)": None,
    "A-level": None,
    "A(x)": None,
    "E. coli": None,
    "E.  coli": None,
    "*E. coli*": None,
    "(E. coli)": None,
    "E coli": None,
    "C. elegans": None,
    "C. red": None,
    "A man": None,
    "green light": None,
    "c": None,
    "J": None,
    "none of these": None,
    "": None,
    "?": None,
}


@pytest.mark.parametrize("text", NASTY)
def test_what_a_cot_commits_to_is_read_as_score_reads_an_output(text):
    """One reader: `eval` and `select` take from `Answer: X` what `sparkctl score` takes from it."""
    scored = read_strict(f"Answer: {text}", COLOURS)
    assert (scored and scored.letter) == NASTY[text]
    row = {"options": COLOURS}
    for before in ("", "so \n", "A or B? Answer: no. "):
        assert answer_of(row, "cot", f"{before}Answer: {text}")[1] == scored
    assert answer_of(row, "search", f"Answer: {text}") == (None, None)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*NASTY, *COLOURS, *_PIECES, "Answer:", ". ", ") ", "or"]), max_size=6).map(" ".join))
def test_there_is_one_reader_whatever_a_cot_says(text):
    said = f"hm. Answer: {text}"
    assert answer_of({"options": COLOURS}, "cot", said)[1] == read_strict(said, COLOURS)


def test_a_text_is_told_from_a_letter():
    options = ["42", "4 2", "C", "velto", "B: beta"]
    found = {
        text: read_strict(f"Answer: {text}", options) for text in ("Velto", "  VELTO. ", "C", "(C)", "B: beta", "X")
    }
    assert found == {
        "Velto": Reading("D", "text"),
        "  VELTO. ": Reading("D", "text"),
        "C": Reading("C", "letter"),
        "(C)": Reading("C", "letter"),
        "B: beta": Reading("E", "text"),
        "X": None,
    }
    # A letter of the options is a letter, whatever their texts; one beyond them may be a text.
    assert read_strict("Answer: B", ["B", "A"]) == Reading("B", "letter")
    assert read_strict("Answer: E", ["E", "D"]) == Reading("A", "text")


def test_case_decides_where_options_differ_by_case_alone():
    assert [letter(f"Answer: {text}", ["AA", "Aa", "aa"]) for text in ("AA", "Aa", "aa", "aA")] == ["A", "B", "C", "A"]


def test_an_option_of_several_lines_is_named_by_its_whole_text():
    assert letter("Answer: x = 1\ny = 2", ["x = 1", "x = 1\ny = 2"]) == "B"
    assert letter("Answer: x = 1\nas y = 2", ["x = 1", "x = 1\ny = 2"]) == "A"


def test_a_line_that_goes_on_beyond_what_is_looked_at_is_no_text():
    # 2 x 5 + 40 characters are looked at.
    assert letter("Answer: " + " " * 45 + "green house", COLOURS) is None
    assert letter("Answer: green" + " " * 60 + "house", COLOURS) is None
    assert letter("Answer: " + " " * 45 + "green", COLOURS) == "C"


def test_without_options_nothing_is_read():
    assert read_strict("Answer: A", []) is None
