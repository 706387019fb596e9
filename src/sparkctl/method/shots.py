"""Few-shot: solved questions of the asked one's category, told before it as the policy would have answered them.

The thought is the table's worked reasoning, the answer is the option's letter, as the system prompt asks for it.
Which examples are told is fixed: the first of the category in the table's order, never the question that is asked.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sparkctl.errors import SparkError
from sparkctl.method.episode import ANSWER, COT, State, Step, flat
from sparkctl.method.rollouts import clean, content

_LEAD_IN = re.compile(r"\A\s*(A:\s*)?Let['’]s think step by step\.?\s*", re.IGNORECASE)


class Shot(NamedTuple):
    """A worked example: whose content it is, and the episode that answers it in one step."""

    content: str
    episode: State


def shots_of(questions: Iterable[Mapping[str, Any]]) -> dict[str, list[Shot]]:
    """Category -> the worked examples of a questions table, in its order; questions without reasoning are none."""
    found: dict[str, list[Shot]] = defaultdict(list)
    for question in questions:
        if (cleaned := clean(question)) and (episode := _answered(question, cleaned)):
            found[question["category"]].append(Shot(content(cleaned), episode))
    return found


def _answered(question: Mapping[str, Any], cleaned: Mapping[str, Any]) -> State | None:
    thought = flat(_LEAD_IN.sub("", question["cot_content"]))
    options = tuple(option.strip() for option in question["options"])
    kept = tuple(cleaned["options"])
    # Where padding stands between options, taking it off would move letters that the reasoning names.
    shown = kept if options[: len(kept)] == kept else options
    step = Step(thought, COT, f"{ANSWER} {question['answer']}", "")
    return State(cleaned["question"], shown, (step,)) if thought else None


def chosen(shots: Mapping[str, Sequence[Shot]], question: Mapping[str, Any], k: int, source: str) -> tuple[State, ...]:
    """The k examples that are told before a question, or a SparkError where `source` has too few."""
    asked = content(question)
    others = [shot.episode for shot in shots.get(question["category"], ()) if shot.content != asked]
    if len(others) < k:
        raise SparkError(
            f"eval.shots_from: {source} has {len(others)} worked examples of '{question['category']}' besides question "
            f"{question['question_id']}, eval.shots = {k} needs more; lower it, add rows with cot_content, "
            f"or leave the category out with eval.categories"
        )
    return tuple(others[:k])
