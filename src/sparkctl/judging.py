"""How a judge is asked and read, pure: one call scores the nine candidates of a state, each 0-10.

The case is given as JSON: question, options, what is known of the solution, the steps so far, the thought, and the
candidates in an order shuffled per call (a judge favours positions). The judge answers with JSON:
`{"calculator": {"score": 8, "reason": "..."}, ...}`.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparkctl.episode import Step

LOWEST, HIGHEST = 0.0, 10.0


@dataclass(frozen=True)
class Verdict:
    """A candidate's score and the judge's words, or why there is no score. Null is not zero."""

    score: float | None
    reason: str | None = None
    error: str | None = None


def case(
    question: Mapping[str, Any], steps: Sequence[Step], thought: str, queries: Mapping[str, str], reference: str
) -> dict[str, Any]:
    """What the judge is shown. `reference`: "none", "answer" (the correct option) or "solution" (worked as well)."""
    shown: dict[str, Any] = {"question": question["question"], "options": list(question["options"])}
    if reference != "none":
        shown["answer"] = question["options"][ord(question["answer"]) - ord("A")]
    if reference == "solution":
        shown["reference"] = question["cot_content"]
    return shown | {
        "steps": [vars(step) for step in steps],
        "thought": thought,
        "candidates": [{"tool_name": tool, "action_query": query} for tool, query in queries.items()],
    }


def messages(rubric: str, shown: dict[str, Any], seed: int) -> list[dict[str, str]]:
    """The call's chat messages, with the candidates shuffled by `seed`."""
    candidates = list(shown["candidates"])
    random.Random(seed).shuffle(candidates)
    content = json.dumps(shown | {"candidates": candidates}, ensure_ascii=False)
    return [{"role": "system", "content": rubric.strip()}, {"role": "user", "content": content}]


def read(content: str, tools: Sequence[str]) -> dict[str, Verdict]:
    """A verdict for each tool asked about. Never raises; what cannot be read is an error, not a score."""
    try:
        answered = json.loads(content[content.index("{") : content.rindex("}") + 1])
    except ValueError:
        return {tool: Verdict(None, error="the judge's answer is not JSON") for tool in tools}
    return {tool: _verdict(answered.get(tool)) for tool in tools}


def _verdict(given: Any) -> Verdict:
    if not isinstance(given, dict) or "score" not in given:
        return Verdict(None, error="the judge gave no score")
    score = given["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not LOWEST <= score <= HIGHEST:
        return Verdict(None, error=f"the judge's score {score!r} is not a number from 0 to 10")
    reason = given.get("reason")
    # A lone surrogate is valid JSON and no valid text.
    return Verdict(float(score), None if reason is None else str(reason).encode("utf-8", "replace").decode())


def unreadable(content: str, tools: Sequence[str]) -> str | None:
    """The first fault of an answer, or None. A faulty answer counts as a failed call and is not remembered."""
    return next((verdict.error for verdict in read(content, tools).values() if verdict.error), None)
