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

from sparkctl.method.episode import Step

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


def shuffled(shown: dict[str, Any], seed: int) -> dict[str, Any]:
    """The case with its candidates in an order that `seed` decides."""
    candidates = list(shown["candidates"])
    random.Random(seed).shuffle(candidates)
    return shown | {"candidates": candidates}


def messages(rubric: str, shown: dict[str, Any]) -> list[dict[str, str]]:
    """The call's chat messages."""
    content = json.dumps(shown, ensure_ascii=False)
    return [{"role": "system", "content": rubric.strip()}, {"role": "user", "content": content}]


def asked_again(asked: Sequence[Mapping[str, str]], answer: str, fault: str) -> list[Mapping[str, str]]:
    """The messages of a re-ask: the same, with the answer that could not be used and what is wrong with it."""
    complaint = (
        f"This cannot be used: {fault}. Answer again, with nothing but the JSON object that was asked for: each "
        f"candidate's name as a key, with a score from {LOWEST:g} to {HIGHEST:g} and a reason."
    )
    # Some providers refuse an empty turn.
    return [*asked, {"role": "assistant", "content": answer or "(empty)"}, {"role": "user", "content": complaint}]


def schema(tools: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of an answer about these tools, in their order. Bounds are ours to check: not all providers
    take them."""
    verdict = _object({"score": {"type": "number"}, "reason": {"type": "string"}})
    return _object(dict.fromkeys(tools, verdict))


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read(content: str, tools: Sequence[str]) -> dict[str, Verdict]:
    """A verdict for each tool asked about. Never raises; what cannot be read is an error, not a score."""
    try:
        answered = json.loads(content[content.index("{") : content.rindex("}") + 1])
    except (ValueError, RecursionError):  # the latter: nested by the thousand
        return {tool: Verdict(None, error="the judge's answer is not JSON") for tool in tools}
    return {tool: _verdict(answered.get(tool)) for tool in tools}


def _verdict(given: Any) -> Verdict:
    if not isinstance(given, dict) or "score" not in given:
        return Verdict(None, error="the judge gave no score")
    score = given["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not LOWEST <= score <= HIGHEST:
        return Verdict(None, error=f"the judge's score {repr(score)[:20]} is not a number from 0 to 10")
    reason = given.get("reason")
    # A lone surrogate is valid JSON and no valid text.
    return Verdict(float(score), None if reason is None else str(reason).encode("utf-8", "replace").decode())


def unreadable(content: str, tools: Sequence[str]) -> str | None:
    """The first fault of an answer and whom it is about, or None. A faulty answer counts as a failed call and is not
    remembered."""
    faults = {tool: verdict.error for tool, verdict in read(content, tools).items() if verdict.error}
    if not faults:
        return None
    tool, fault = next(iter(faults.items()))
    return fault if len(faults) == len(tools) else f"{fault}: {tool}"
