"""Reading, pure: which letter an output answers with, under one of two sets of rules. `score` and the stages share it.

`official`  MMLU-Pro's own (TIGER-AI-Lab/MMLU-Pro, evaluate_from_local.py): three patterns in order, then a random guess
            that counts where it hits. It is there to compare with published figures. Its last pattern takes any stray
            capital, and its guess gives about one in ten of the unreadable outputs away.
`strict`    What the output committed to, and nothing else; no guess. See `read_strict`.

Every rule takes time linear in the output's length: outputs that ran into their limit are long, and repeat themselves.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from sparkctl.method.episode import LETTERS, flat
from sparkctl.method.ids import seed_of

Mode = Literal["official", "strict"]


class Reading(NamedTuple):
    """The letter that an output answers with, and how it was found: the whole text of an option, a letter, the official
    patterns, or a guess."""

    letter: str
    by: Literal["text", "letter", "official", "guess"]


# The three published patterns, with an anchor added to the last two: tried from every position of the output, as
# published, they are quadratic. `.*` is greedy, so each still finds the last hit: of the first line that has one, and
# of the whole output. tests/method/test_answers.py compares them with the published ones on random text.
_FIRST = re.compile(r"answer is \(?([A-J])\)?")
_AGAIN = re.compile(r"^.*[aA]nswer:\s*([A-J])", re.MULTILINE)
_FINAL = re.compile(r"\A.*\b([A-J])\b", re.DOTALL)


def read_official(output: str) -> Reading | None:
    """What MMLU-Pro's published extraction reads, or None. It does not look at the options."""
    found = _FIRST.search(output) or _AGAIN.search(output) or _FINAL.match(output)
    return Reading(found[1], "official") if found else None


def guess(question_id: int, options: Sequence[str], seed: int) -> Reading:
    """A letter drawn evenly from the options, by seed and question alone: neither order nor number of rows matters.

    "N/A" is padding, as in the official script, and never drawn.
    """
    choices = sum(option.strip() != "N/A" for option in options) or len(options)
    return Reading(LETTERS[seed_of("guess", seed, question_id) % choices], "guess")


_CUE = re.compile(r"\banswer(?:\s+(?:choice|option))?[*_]*\s*(?:is\b|:)|(?-i:\\boxed)\s*\{", re.IGNORECASE)
# Between a cue and its answer: blanks, Markdown, quotes, brackets of LaTeX. Bounded and possessive, so that a thousand
# nested \boxed{ cost no more than their length.
_GAP = r"(?:[\s*_`$\"'“”:]|\\[(\[]|\\(?:boxed|text|textbf|mathbf|mathrm)\s*\{|(?:[Oo]ption|[Cc]hoice)\b){0,40}+"
_OPEN, _CLOSE = r"[(\[{]?\s{0,9}", r"[)\]}*_`$\"'”]*"
_REASON = r"(?:because|since|as|due|based)\b"
# After a period: a word in lower case goes on with what the letter began ("E. coli"); a capital begins a sentence.
_GOES_ON = rf"(?:\w|[^\S\r\n]*+(?!{_REASON})[a-zß-öø-ÿα-ω])"
# After a lone letter: a bracket, punctuation before a blank, the end of the line, a dash, or a reason. Else it is a word
# ("A man", "A-level"), a formula ("V = IR", "F(x)") or a name ("E. coli").
_END = (
    r"(?=\s{0,9}[)\]}]|[*_`$\"'”]*(?:\\[)\]])?"
    rf"(?:[ \t]{{0,9}}(?:[,:;!?](?!\w)|\.(?!{_GOES_ON})|[\n\r\x0b\x0c\x85\u2028\u2029]|\Z)"
    rf"|[ \t]{{1,9}}[-–—(](?!\d)|[-–](?!\w)|—(?!\d)|\s{{1,9}}{_REASON}))"
)
_JOIN = (
    r"\s{0,9}(?:[,;]|/|&|\+|\||[-–—]|(?=[(\[])|[.,;!?]?\s{0,9}[(\[]?(?i:or|and|nor|to|through|versus|vs)\b)"
    r"\s{0,9}[*_`$\"'“]*"
)
_NAMED = re.compile(
    rf"{_GAP}{_OPEN}(?P<letter>[A-Z])(?:(?P<others>{_CLOSE}{_JOIN}{_OPEN}[A-Z](?:{_END}|(?={_JOIN})))|{_END})"
)
_LABEL = re.compile(rf"{_GAP}{_OPEN}(?P<letter>[A-Z])\s{{0,9}}[.:]")
_GAPS = re.compile(_GAP)
_BLANKS = re.compile(r"\s*+")
_NEXT_QUESTION = re.compile(r"^[ \t*#]*Question(?: \d+)?[ \t]*:", re.MULTILINE)


def read_strict(output: str, options: Sequence[str]) -> Reading | None:
    r"""The option that the output committed to, or None.

    A commitment is "answer is X", "Answer: X" or \boxed{X}, in any case and Markdown, where X is the whole text of an
    option up to the end of the line or of the output, or a capital standing alone, in brackets or not. A lone letter of
    the options is a letter even where an option's text is that letter. The last commitment counts, before the output
    goes on to a question of its own making. A letter beyond the options, or several letters ("A or B"), is a commitment
    to no option. Words that name no option ("the answer is not listed") are none.
    """
    output, texts = _of_this_question(output), _texts(options)
    for cue in reversed(list(_CUE.finditer(output))):
        for written in _written(output, cue, _reach(options)):
            if letter := _with_text(written, texts):
                return Reading(letter, "text")
        if named := _NAMED.match(output, cue.end()):
            one = not named["others"] and named["letter"] in LETTERS[: len(options)]
            return Reading(named["letter"], "letter") if one else None
        if label := _label_of_its_text(output, cue, options):
            return Reading(label, "letter")
    return None


def _of_this_question(output: str) -> str:
    """The output up to where it invents a further question, as base models do; one it begins with is this one."""
    for found in _NEXT_QUESTION.finditer(output):
        if output[: found.start()].strip():
            return output[: found.start()]
    return output


def _reach(options: Sequence[str]) -> int:
    """Characters to look at after a cue: no option is longer, and one long line is not read anew for every cue."""
    return 2 * max(map(len, options), default=0) + 40


def _written(output: str, cue: re.Match[str], reach: int) -> Iterator[str]:
    """What may be the whole text of an option after a cue: all that is left of the output, or of the line; as it stands,
    or without Markdown and quotes."""
    for begin in (cue.end(), _end(_GAPS, output, cue.end())):
        begin = _end(_BLANKS, output, begin)
        rest = output[begin : begin + reach]
        lines = rest.splitlines()[:2]
        if all_of_it := begin + reach >= len(output):
            yield from (rest, _bare(rest))
        if lines and (all_of_it or len(lines) > 1):
            yield from (lines[0], _bare(lines[0]))
        if cue[0].endswith("{") and "}" in rest:
            yield rest.partition("}")[0]


def _end(pattern: re.Pattern[str], text: str, begin: int) -> int:
    found = pattern.match(text, begin)
    return found.end() if found else begin


def _bare(text: str) -> str:
    return text.rstrip("*_`$\"'”) .")


def _texts(options: Sequence[str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Text -> letter: as it is, and in any case. Of two equal options the first; a blank one is never meant, and a letter
    of the options is a letter."""
    lettered = list(zip(LETTERS, options, strict=False))
    meant = [(letter, option) for letter, option in lettered[::-1] if _exact(option)]
    exact, folded = ({text(option): letter for letter, option in meant} for text in (_exact, _folded))
    return exact | {letter: "" for letter, _ in lettered}, folded


def _with_text(written: str, texts: tuple[Mapping[str, str], Mapping[str, str]]) -> str:
    """The letter of the option with just this text, else with this text in another case: genotypes and units differ by
    case alone. "" where there is none."""
    exact, folded = texts
    return exact.get(_exact(written), folded.get(_folded(written), ""))


def _label_of_its_text(output: str, cue: re.Match[str], options: Sequence[str]) -> str | None:
    """The letter before an option's own text, such as "C. green" where C is green; no other text makes it a letter."""
    label = _LABEL.match(output, cue.end())
    if label is None or label["letter"] not in LETTERS[: len(options)]:
        return None
    option = _folded(options[LETTERS.index(label["letter"])])
    after = _folded(output[label.end() : label.end() + _reach(options)])
    return label["letter"] if option and re.match(rf"{re.escape(option)}(?!\w)", after) else None


def _exact(text: str) -> str:
    return flat(text).rstrip(".")


def _folded(text: str) -> str:
    return _exact(text).casefold()
