"""The rubric judge: runs each candidate and scores, 0 to 10, what it brings. 6 or more means *it advances the state*.

| what the candidate does | score |
|---|---|
| a tool brings the value of the last goal, by the tool most natural for it / another | 10 / 9, 8 |
| a tool brings the value of an earlier goal that is still open | one less |
| `cot` answers rightly, and the value is in the state, or the question is one of plain reasoning | 10 |
| a tool finds the rule by which to convert, not the value | 4 |
| `cot` answers rightly without grounds; a tool repeats a right value it was given: luck | 3 |
| a tool is called though the answer is known; an observation that does not help; `cot` that settles nothing | 2 |
| a call that shows nothing | 1 |
| `cot` answers wrongly; a call that fails | 0 |

A useless call must stay well below 6: a selector that prefers rare tools would find it, and accuracy would suffer.

A question that is not nano's has no plan to read. Then the value is the correct option's text, a tool advances if its
observation holds that text, and whether a right `cot` was justified cannot be told: it gets 8.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from sparkctl.method.answers import read_strict
from sparkctl.method.episode import COT, LETTERS, TOOLS, Step, one_line, read_answer
from sparkctl.nano.solution import RETRIEVAL, Goal, Plan, after, read, waiting
from sparkctl.tools.observation import Observation

Box = Callable[[str, str], Observation]
Verdict = tuple[int, str]

NATURAL = {
    "compute": {"calculator": 10, "wolfram_alpha": 9},
    "convert": {"unit_converter": 10, "calculator": 9, "wolfram_alpha": 9},
    "find": {"wikipedia": 10, "search": 9},
}
OTHER = 8
"""Score of a tool that brings the last value and is not named in `NATURAL`."""
NO_OUTPUT = "(no output)"
"""What `python_repl` says of a program that prints nothing."""
ECHO: Verdict = (3, "repeats a value that was guessed")
UNPLANNED = 9
"""Score of a tool that brings the correct option's text where there is no plan."""


def score(case: Mapping[str, Any], box: Box) -> dict[str, dict[str, Any]]:
    """Score and reason per candidate, by tool name. Never raises for what a policy or a data set wrote."""
    steps = [_step(step) for step in case.get("steps") or ()]
    plan = read(case.get("reference") or "")
    verdicts = {}
    for candidate in case.get("candidates") or ():
        tool, query = str(candidate.get("tool_name")), str(candidate.get("action_query") or "")
        points, reason = _verdict(case, plan, steps, tool, query, box)
        verdicts[tool] = {"score": points, "reason": reason}
    return verdicts


def _step(step: Mapping[str, Any]) -> Step:
    return Step(*(str(step.get(key) or "") for key in ("thought", "tool_name", "action_query", "observation")))


def _verdict(
    case: Mapping[str, Any], plan: Plan | None, steps: Sequence[Step], tool: str, query: str, box: Box
) -> Verdict:
    if not query.strip():
        return 0, "no input"
    if tool == COT:
        return _reasoned(case, plan, steps, query)
    if tool not in TOOLS:
        return 0, f"unknown action '{one_line(tool, 40)}'"
    observation = box(tool, query)
    if not observation.ok:
        return 0, f"the call failed: {one_line(observation.text, 120)}"
    if observation.text == NO_OUTPUT:
        return 1, "shows nothing"
    if plan is None:
        return _unplanned(case, steps, tool, query, observation.text)
    return _called(plan, waiting(plan, steps), tool, query, observation.text)


def _reasoned(case: Mapping[str, Any], plan: Plan | None, steps: Sequence[Step], query: str) -> Verdict:
    """A `cot`: counts if it answers, and if it can know."""
    if read_answer(COT, query) is None:
        return 2, "reasons, and settles nothing"
    options = list(case.get("options") or ())
    wanted, given = str(case.get("answer") or ""), read_strict(query, options)
    if given is None or not _same(options[LETTERS.index(given.letter)], wanted):
        return 0, "answers wrongly" if given is not None else "the answer names no option"
    if plan is None:
        known = _in_state(wanted, steps)
        return (10, "answers rightly from what was observed") if known else (8, "answers rightly by reasoning")
    goals = waiting(plan, steps)
    if goals and goals[0].verb != "pick":
        return 3, f"right by luck: nothing in the state shows how to {goals[0].text}"
    return 10, "answers rightly, and can know"


def _called(plan: Plan, goals: tuple[Goal, ...], tool: str, query: str, text: str) -> Verdict:
    """A tool that answered, on a question with a plan."""
    if not goals:
        return 2, "the answer is known already"
    left = after(goals, tool, text)
    if len(left) < len(goals):
        settled = goals[len(goals) - len(left) - 1]
        if _echoes(settled.value, query):
            return ECHO
        points = NATURAL[settled.verb].get(tool, OTHER) - (1 if left else 0)
        return points, f"brings {settled.value}: {settled.text}"
    if goals[0].verb == "convert" and tool in RETRIEVAL and _tells_factor(goals[0], text):
        return 4, "tells how to convert, not the value"
    return 2, f"does not help to {goals[0].text}"


def _echoes(value: str, query: str) -> bool:
    """Whether a query holds the value and nothing else: the tool then says what it was told."""
    asked = _words(query)
    return asked == _words(value) or asked == _words(f"print {value}")


def _tells_factor(goal: Goal, text: str) -> bool:
    _, unit, _, smaller = goal.noun.split(" ", 3)
    return text.startswith(f"{unit} to {smaller}:")


# ---- questions without a plan --------------------------------------------------------------------------------------


def _unplanned(case: Mapping[str, Any], steps: Sequence[Step], tool: str, query: str, text: str) -> Verdict:
    wanted = str(case.get("answer") or "")
    if _in_state(wanted, steps):
        return 2, "the answer's text was observed already"
    if _shows(wanted, tool, text):
        if _echoes(wanted, query):
            return ECHO
        return UNPLANNED, "brings the text of the correct option"
    return 2, "does not show the correct option"


def _in_state(wanted: str, steps: Sequence[Step]) -> bool:
    return any(_shows(wanted, step.tool_name, step.observation) for step in steps)


def _shows(wanted: str, tool: str, text: str) -> bool:
    """A number counts if a computing tool returns it alone; other text if it stands in the observation as whole words."""
    number = _number(wanted)
    if number is not None:
        return tool in TOOLS and tool not in RETRIEVAL and _number(text.split(" ", 1)[0]) == number
    phrase = _words(wanted)
    return len(phrase) > 2 and tool in TOOLS and f" {phrase} " in f" {_words(text)} "


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _number(text: str) -> Decimal | None:
    try:
        value = Decimal(text.strip().strip("$%. ").replace(",", ""))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _same(option: str, answer: str) -> bool:
    return " ".join(option.split()).casefold() == " ".join(answer.split()).casefold()
