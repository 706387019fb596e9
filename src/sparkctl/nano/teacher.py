"""Writes the rollouts that the policy is taught with. Every observation really comes from a tool.

Thoughts name the goal and no tool (`i must find the capital of norland`), so that any of the nine actions may follow.
Two kinds of rollout:

* *habit*: the tool is drawn from skewed habits. Two tools take most calls, as in a real model before SPaRK.
* *aux*: the tool is drawn from all nine alike, and training masks its name. So the policy learns what to write for
  each tool, and how to go on after a useless answer, without learning to choose that tool.

In most rollouts the made-up names are then exchanged, throughout, for other ones (`renamed`). There are few facts, and
a small model would learn their names by heart where it must learn to copy any name.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sparkctl.method.episode import ACTIONS, ANSWER, COT, COT_OBSERVATION, State, Step, one_line
from sparkctl.nano import world
from sparkctl.nano.solution import Goal, Plan, read, waiting
from sparkctl.tools.observation import Observation

Box = Callable[[str, str], Observation]

HABITS: dict[str, dict[str, float]] = {
    "compute": {"calculator": 0.80, "python_repl": 0.07, "wolfram_alpha": 0.05, "search": 0.02},
    "convert": {"calculator": 0.52, "unit_converter": 0.26, "wolfram_alpha": 0.09, "python_repl": 0.05, "search": 0.02},
    "find": {"wikipedia": 0.76, "search": 0.11, "static_kb": 0.05, "semantic_scholar": 0.04},
    "pick": {COT: 0.93, "search": 0.02, "wikipedia": 0.03},
    "answer": {COT: 0.985},
}
"""Share of each tool by what is to be done; the tools not named share the rest. `answer`: everything is known."""
AUX_UNIFORM = 0.7
"""Share of the steps of an aux rollout whose tool is drawn from all nine alike; the others keep it from going astray."""
GUESSES = 0.03
"""Share of the open steps at which the teacher, by a bad habit, answers with any option instead of finding out."""
MAX_STEPS = 5
NAMES = tuple(head + tail for head in world.HEADS for tail in world.TAILS)
NAME = re.compile(rf"\b(?:{'|'.join(world.HEADS)})(?:{'|'.join(world.TAILS)})\b")


@dataclass(frozen=True)
class Rollout:
    """A finished demonstration. `masked[i]`: the tool's name of step i is not to be learnt."""

    state: State
    masked: tuple[bool, ...]


def demonstrate(row: dict[str, Any], box: Box, rng: random.Random, aux: bool) -> Rollout:
    """Work a question through, until it is answered, rarely by a guess, or the steps are used up."""
    plan = read(row["cot_content"])
    assert plan is not None, "the teacher solves nano questions only"
    steps: list[Step] = []
    masked: list[bool] = []
    failed: set[str] = set()
    while len(steps) < MAX_STEPS and not (steps and ANSWER in steps[-1].action_query):
        goal = next(iter(waiting(plan, steps)), None)
        uniform = aux and rng.random() < AUX_UNIFORM
        tool = rng.choice(ACTIONS) if uniform else habit(goal, failed, rng)
        guessing = not uniform and goal is not None and goal.verb != "pick" and rng.random() < GUESSES
        steps.append(_guess(goal, row, rng) if guessing else _step(plan, goal, tool, box))
        masked.append(uniform)
        failed = failed | {tool} if goal in waiting(plan, steps) else set()
    return Rollout(State(row["question"], tuple(row["options"]), tuple(steps)), tuple(masked))


def renamed(rollout: Rollout, rng: random.Random) -> Rollout:
    """The rollout with every name exchanged for a random one, the same wherever it stands, no two alike."""
    fresh = iter(rng.sample(NAMES, 200))
    given: dict[str, str] = {}

    def other(text: str) -> str:
        for name in NAME.findall(text):
            given.setdefault(name, next(fresh))
        return NAME.sub(lambda found: given[found[0]], text)

    state = rollout.state
    steps = tuple(
        Step(other(step.thought), step.tool_name, other(step.action_query), other(step.observation))
        for step in state.steps
    )
    return replace(rollout, state=State(other(state.question), tuple(map(other, state.options)), steps))


def habit(goal: Goal | None, failed: set[str], rng: random.Random) -> str:
    """A tool by habit; one that has just failed for this goal is not tried again."""
    named = HABITS[goal.verb if goal else "answer"]
    rest = (1 - sum(named.values())) / (len(ACTIONS) - len(named))
    weights = [0.0 if tool in failed else named.get(tool, rest) for tool in ACTIONS]
    return rng.choices(ACTIONS, weights)[0]


def thought(goal: Goal | None, answer: str) -> str:
    """What is said before an action, whichever it is."""
    return f"i must {goal.text}" if goal else f"the answer is {answer}"


def query(goal: Goal | None, tool: str, answer: str) -> str:
    """The input of a tool for a goal. With nothing left to find out, a tool is asked about the answer again."""
    if tool == COT:
        known = goal is None or goal.verb == "pick"
        return f"{ANSWER} {answer}" if known else "i do not know it yet"
    formula = _formula(goal, answer)
    if tool == "python_repl":
        return f"print({formula})" if formula else f"# {goal.noun if goal else answer}"
    if tool == "calculator" and formula:
        return formula
    return goal.noun if goal else answer


def _formula(goal: Goal | None, answer: str) -> str | None:
    """The goal as arithmetic, if it is any."""
    if goal is None:
        return answer if answer.isdecimal() else None
    if goal.verb == "convert":
        number, unit, _, smaller = goal.noun.split()
        return f"{number} * {FACTORS[unit, smaller]}"
    return goal.noun if goal.verb == "compute" else None


FACTORS = {(unit, small): factor for domain in world.DOMAINS.values() for unit, small, factor in domain.units}


def _guess(goal: Goal | None, row: dict[str, Any], rng: random.Random) -> Step:
    return Step(thought(goal, row["answer"]), COT, f"{ANSWER} {rng.choice(row['options'])}", COT_OBSERVATION)


def _step(plan: Plan, goal: Goal | None, tool: str, box: Box) -> Step:
    asked = query(goal, tool, plan.answer)
    seen = COT_OBSERVATION if tool == COT else one_line(box(tool, asked).text)
    return Step(thought(goal, plan.answer), tool, asked, seen)
