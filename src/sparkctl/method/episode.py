"""The episode, pure: the action set, how a state is written for a policy, how a turn is read, when it ends.

A rollout answers one question in at most `steps` steps. At each step the policy writes a *thought*, names an
*action* (eight tools or `cot`, plain reasoning) and gives its input. The tool's *observation* joins the state.
A `cot` whose text holds `Answer: X` commits to X and ends the rollout; X is a letter or an option's own text.

As in the paper: nine actions, five steps, thought before action (arXiv 2507.11371, extended abstract).
Not in what is known of it, so ours: the wording below, and that `cot` is the action that answers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

TOOLS = (
    "calculator",
    "python_repl",
    "wolfram_alpha",
    "search",
    "wikipedia",
    "semantic_scholar",
    "static_kb",
    "unit_converter",
)
COT = "cot"
ACTIONS = (*TOOLS, COT)
"""The nine actions in their fixed order. Ties and counts are resolved in this order."""

CATEGORIES = (
    "biology",
    "business",
    "chemistry",
    "computer science",
    "economics",
    "engineering",
    "health",
    "history",
    "law",
    "math",
    "other",
    "philosophy",
    "physics",
    "psychology",
)
LETTERS = "ABCDEFGHIJ"

# A turn is `Thought:<thought>\nAction:<tool>\nInput:<query>`; its parts are encoded and sampled one by one.
THOUGHT, ACTION, INPUT, ANSWER, OBSERVATION = "Thought:", "\nAction:", "\nInput:", "Answer:", "Observation:"
COT_OBSERVATION = "continue"
"""What the state shows after a `cot` that did not answer: reasoning has no outside result."""

STOPS = (f"\n{OBSERVATION}", f"\n{THOUGHT}")
"""Where a turn must end: a policy that goes on would invent the result, or a further step."""

_TURN = re.compile(r"\A\s*(?:Thought:)?(?P<thought>.*?)\nAction:(?P<tool>[^\n]*)\nInput:(?P<query>.*)\Z", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNSEEN = re.compile(
    r"[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


@dataclass(frozen=True)
class Step:
    """One executed step: what was thought and done, and what came back."""

    thought: str
    tool_name: str
    action_query: str
    observation: str


@dataclass(frozen=True)
class State:
    """What the policy sees before a step: the question, its options in order, the steps so far."""

    question: str
    options: tuple[str, ...]
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Turn:
    """A turn that a policy wrote freely. `error` is None where a known action was named."""

    thought: str
    tool_name: str | None
    action_query: str | None
    error: str | None = None


def system_prompt(prompt: str, descriptions: dict[str, str]) -> str:
    """The prompt with its `{tools}` filled in: one line per action, in the order of the action set."""
    return prompt.replace("{tools}", "\n".join(f"- {action}: {descriptions[action]}" for action in ACTIONS))


def messages(state: State, system: str, shots: Sequence[State] = ()) -> list[dict[str, str]]:
    """The state as chat messages: system, question, then per step the turn and its observation as `user`.

    `shots` are worked examples, told before the question; the last step of each answers.
    """
    chat = [{"role": "system", "content": system.strip()}]
    for shot in shots:
        chat += _told(shot)[:-1]  # nothing is observed after an answer
    return chat + _told(state)


def _told(state: State) -> list[dict[str, str]]:
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, state.options, strict=False))
    chat = [{"role": "user", "content": f"Question: {state.question}\nOptions:\n{listed}"}]
    for step in state.steps:
        turn = f"{THOUGHT} {step.thought}{ACTION} {step.tool_name}{INPUT} {step.action_query}"
        chat.append({"role": "assistant", "content": turn})
        chat.append({"role": "user", "content": f"{OBSERVATION} {flat(step.observation)}"})
    return chat


def flat(text: str) -> str:
    """The text on one line, so that no marker of ours can stand at a line's start; characters that cannot be seen, or
    that change the direction of what can, are left out, and what is no valid text is replaced."""
    return " ".join(_UNSEEN.sub("", _CONTROL.sub(" ", text)).encode("utf-8", "replace").decode().split())


def one_line(text: str, limit: int = 600) -> str:
    """The text on one line of at most `limit` characters; a cut is marked."""
    line = flat(text)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def parse_turn(text: str) -> Turn:
    """Read a freely written turn. Never raises: what cannot be read carries an `error`."""
    found = _TURN.match(text)
    if found is None:
        return Turn(text.strip(), None, None, "no 'Action:' line followed by an 'Input:' line")
    thought, tool, query = (found[name].strip() for name in ("thought", "tool", "query"))
    error = None if tool in ACTIONS else f"unknown action '{tool[:40]}'"
    return Turn(thought, tool if error is None else None, query, error)


def read_answer(tool_name: str | None, action_query: str | None) -> str | None:
    """The answer a step commits to: what follows the last `Answer:` of a `cot`, or None."""
    if tool_name != COT or action_query is None or ANSWER not in action_query:
        return None
    return action_query.rsplit(ANSWER, 1)[1].strip()
