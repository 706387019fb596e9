"""Scoring, pure: which letter a free-form output answers with, under one of two sets of rules, and whether it is right.

`official`  MMLU-Pro's own (TIGER-AI-Lab/MMLU-Pro, evaluate_from_local.py): three patterns in order, then a random guess
            that counts where it hits. It is there to compare with published figures. Its last pattern takes any stray
            capital, and its guess gives about one in ten of the unreadable outputs away.
`strict`    What the output committed to, and nothing else; no guess. See `read_strict`.

Every rule takes time linear in the output's length: outputs that ran into their limit are long, and repeat themselves.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from sparkctl import tables
from sparkctl.episode import LETTERS, flat, match_option
from sparkctl.errors import SparkError
from sparkctl.ids import seed_of
from sparkctl.tables import Column

Mode = Literal["official", "strict"]

COLUMNS = (
    Column("question_id", pa.int64(), "id of the question; may occur more than once, say once for each model"),
    Column("model_output", pa.string(), "what the model wrote", null="it wrote nothing: wrong, and not guessed"),
    Column("options", pa.list_(pa.string()), "the options in order A, B, C, ...; at most ten"),
    Column("answer", pa.string(), "letter of the correct option"),
)
CATEGORY = Column("category", pa.string(), "any name; read where the table has such a column")
"""What `score` reads."""

# The three published patterns, with an anchor added to the last two: tried from every position of the output, as
# published, they are quadratic. `.*` is greedy, so each still finds the last hit: of the first line that has one, and
# of the whole output. tests/test_scoring.py compares them with the published ones on random text.
_FIRST = re.compile(r"answer is \(?([A-J])\)?")
_AGAIN = re.compile(r"^.*[aA]nswer:\s*([A-J])", re.MULTILINE)
_FINAL = re.compile(r"\A.*\b([A-J])\b", re.DOTALL)


def read_official(output: str, options: Sequence[str] = ()) -> str | None:
    """The letter that MMLU-Pro's published extraction reads, or None. It does not look at the options."""
    found = _FIRST.search(output) or _AGAIN.search(output) or _FINAL.match(output)
    return found[1] if found else None


def guess(question_id: int, options: Sequence[str], seed: int) -> str:
    """A letter drawn evenly from the options, by seed and question alone: neither order nor number of rows matters.

    "N/A" is padding, as in the official script, and never drawn.
    """
    choices = sum(option.strip() != "N/A" for option in options) or len(options)
    return LETTERS[seed_of("guess", seed, question_id) % choices]


_CUE = re.compile(r"\banswer(?:\s+(?:choice|option))?[*_]*\s*(?:is\b|:)|(?-i:\\boxed)\s*\{", re.IGNORECASE)
# Between a cue and its answer: blanks, Markdown, quotes, brackets of LaTeX. Bounded and possessive, so that a thousand
# nested \boxed{ cost no more than their length.
_GAP = r"(?:[\s*_`$\"'“”:]|\\[(\[]|\\(?:boxed|text|textbf|mathbf|mathrm)\s*\{|(?:[Oo]ption|[Cc]hoice)\b){0,40}+"
_OPEN, _CLOSE = r"[(\[{]?\s{0,9}", r"[)\]}*_`$\"'”]*"
# After a lone letter: a bracket, punctuation before a blank, the end of the line, or a reason. Else it is a word
# ("A man", "I think") or a formula ("V = IR").
_END = (
    r"(?=\s{0,9}[)\]}]|[*_`$\"'”]*(?:\\[)\]])?"
    r"(?:[.,:;!?](?!\w)|[ \t]{0,9}(?:\n|\r|\Z|[-–—(](?!\d))|\s{1,9}(?:because|since|as|due|based)\b))"
)
_JOIN = r"\s{0,9}(?:,\s{0,9}(?:or\b|and\b)?|/|&|or\b|and\b)\s{0,9}[*_`$\"'“]*"
_NAMED = re.compile(
    rf"{_GAP}{_OPEN}(?P<letter>[A-Z])(?:(?P<others>{_CLOSE}{_JOIN}{_OPEN}[A-Z](?:{_END}|(?={_JOIN})))|{_END})"
)
_GAPS = re.compile(_GAP)
_NEXT_QUESTION = re.compile(r"^[ \t*#]*Question(?: \d+)?[ \t]*:", re.MULTILINE)


def read_strict(output: str, options: Sequence[str]) -> str | None:
    r"""The letter of the option that the output committed to, or None.

    A commitment is "answer is X", "Answer: X" or \boxed{X}, in any case and Markdown, where X is a capital standing
    alone, in brackets or not, or the whole text of an option up to the end of the line (`episode.match_option`). The
    last one counts, before the output goes on to a question of its own making. A letter beyond the options, or several
    letters ("A or B"), is a commitment to no option. Words that name no option ("the answer is not listed") are none.
    """
    output = _of_this_question(output)
    texts = {_comparable(option) for option in options} - {""}
    for cue in reversed(list(_CUE.finditer(output))):
        if by_text := _text_at(output, cue, options, texts):
            return by_text
        if named := _NAMED.match(output, cue.end()):
            one = not named["others"] and named["letter"] in LETTERS[: len(options)]
            return named["letter"] if one else None
    return None


def _of_this_question(output: str) -> str:
    """The output up to where it invents a further question, as base models do; one it begins with is this one."""
    for found in _NEXT_QUESTION.finditer(output):
        if output[: found.start()].strip():
            return output[: found.start()]
    return output


def _text_at(output: str, cue: re.Match[str], options: Sequence[str], texts: set[str]) -> str | None:
    """The letter of the option whose whole text the line after a cue is, or None."""
    limit = 2 * max(map(len, options)) + 40  # no option is longer: one long line is not read anew for every cue
    for begin in (cue.end(), _GAPS.match(output, cue.end()).end()):  # type: ignore[union-attr]  # it matches "" too
        line = output[begin : begin + limit].lstrip().partition("\n")[0]
        bare = line.partition("}")[0] if cue[0].endswith("{") else line.rstrip("*_`$\"'”) .")
        for written in (line, bare):
            if len(line) < limit and _comparable(written) in texts and (matched := match_option(written, options)):
                return LETTERS[matched.option]
    return None


def _comparable(text: str) -> str:
    return flat(text).rstrip(".").casefold()


def score(outputs: pa.Table, mode: Mode, seed: int, where: str) -> pa.Table:
    """One row per output, in order: question_id, category where there is one, answer_read, is_correct.

    `answer_read` is the letter that the rules read, null where they read none; in official mode a guess may have
    decided `is_correct` then. Errors name `where`, column and row.
    """
    columns = (*COLUMNS, CATEGORY) if CATEGORY.name in outputs.column_names else COLUMNS
    outputs = tables.picked(outputs, columns, where)
    read: Callable[[str, Sequence[str]], str | None] = read_official if mode == "official" else read_strict
    letters, correct = [], []
    for number, row in enumerate(outputs.to_pylist(), 1):
        _check_row(row, f"{where}: row {number}")
        written = row["model_output"]
        letter = None if written is None else read(written, row["options"])
        letters.append(letter)
        if letter is None and written is not None and mode == "official":
            letter = guess(row["question_id"], row["options"], seed)
        correct.append(letter == row["answer"])
    kept = outputs.select([c.name for c in columns if c in (COLUMNS[0], CATEGORY)])
    return kept.append_column("answer_read", pa.array(letters, pa.string())).append_column(
        "is_correct", pa.array(correct, pa.bool_())
    )


def _check_row(row: Mapping[str, Any], where: str) -> None:
    count = len(row["options"])
    if not 1 <= count <= len(LETTERS):
        raise SparkError(f"{where}: column 'options' has {count} options; give 1 to {len(LETTERS)}")
    if len(row["answer"]) != 1 or row["answer"] not in LETTERS[:count]:
        raise SparkError(
            f"{where}: column 'answer' is '{row['answer']}', must be one of {LETTERS[0]} to {LETTERS[count - 1]}, "
            f"the letters of its {count} options"
        )
