"""The reference solution of a nano question: what has to be found out, in order, and what comes of it.

It is kept as readable text in `cot_content`, where MMLU-Pro keeps worked reasoning, and is read back from there by the
teacher and by the judge:

    Step 1: convert 12 km to m = 12000. Step 2: compute 12000 * 3 = 36000. Answer: 36000
    Step 1: find the capital of norland = velto. Answer: velto
    Reasoning: pick a colour = red. Answer: red
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sparkctl.method.episode import COT, Step

RETRIEVAL = ("search", "wikipedia", "semantic_scholar", "static_kb")

_STEP = re.compile(r"(?:Step \d+|Reasoning): (?P<goal>(?:find|convert|compute|pick) [^=]+) = (?P<value>[^=]+?)\. ")
_WHOLE = re.compile(rf"(?:{_STEP.pattern.replace('?P<goal>', '?:').replace('?P<value>', '?:')})+Answer: (?P<answer>.+)")


@dataclass(frozen=True)
class Goal:
    """One thing to find out, such as `compute 46 * 7`, and its value."""

    text: str
    value: str

    @property
    def verb(self) -> str:
        """find (look up), convert, compute, or pick (plain reasoning)."""
        return self.text.split(" ", 1)[0]

    @property
    def noun(self) -> str:
        """What the goal is about, without verb and article: `46 * 7`, `capital of norland`."""
        rest = self.text.split(" ", 1)[1]
        return re.sub(r"^(?:the|an?) ", "", rest)


@dataclass(frozen=True)
class Plan:
    """The goals of a question in order; the value of the last is the answer."""

    goals: tuple[Goal, ...]

    @property
    def answer(self) -> str:
        return self.goals[-1].value


def write(plan: Plan) -> str:
    """The plan as text."""
    named = ["Reasoning" if goal.verb == "pick" else f"Step {i}" for i, goal in enumerate(plan.goals, 1)]
    steps = [f"{name}: {goal.text} = {goal.value}. " for name, goal in zip(named, plan.goals, strict=True)]
    return "".join(steps) + f"Answer: {plan.answer}"


def read(text: str) -> Plan | None:
    """The plan that a text holds, or None where the text is not one of ours."""
    if _WHOLE.fullmatch(text) is None:
        return None
    plan = Plan(tuple(Goal(found["goal"], found["value"]) for found in _STEP.finditer(text)))
    return plan if write(plan) == text else None


def waiting(plan: Plan, steps: Sequence[Step]) -> tuple[Goal, ...]:
    """The goals that no observation has settled yet. Who has a later value needs no earlier one."""
    open_ = plan.goals
    for step in steps:
        open_ = after(open_, step.tool_name, step.observation)
    return open_


def after(goals: tuple[Goal, ...], tool_name: str, observation: str) -> tuple[Goal, ...]:
    """What is left of the goals once an observation is known."""
    settled = [i for i, goal in enumerate(goals) if settles(goal, tool_name, observation)]
    return goals[settled[-1] + 1 :] if settled else goals


def settles(goal: Goal, tool_name: str, observation: str) -> bool:
    """Whether an observation brings the value of a goal: the very fact looked up, or the right number computed.

    A document that shows the number by chance settles nothing.
    """
    if tool_name == COT or goal.verb == "pick":
        return False
    if goal.verb == "find":
        return re.search(rf"\bthe {re.escape(goal.noun)} is {re.escape(goal.value)}(?!\w)", observation) is not None
    return tool_name not in RETRIEVAL and observation.split(" ", 1)[0] == goal.value
