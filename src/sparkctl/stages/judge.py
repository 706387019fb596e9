"""judge, step t: a judge model scores every candidate 0-10.

reads   candidates of step t; questions; steps of the rounds before
writes  scores: one row per candidate, in the order of the candidates
asks    the judge: once per state and vote, for all candidates of the state, in an order shuffled anew each time

As in the paper: 0-10 for nine candidates (SPaRK, extended abstract). One call for the nine of a state is ours.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from sparkctl.config import outages
from sparkctl.config.outages import USUAL, MaxFailed
from sparkctl.config.settings import Settings, Use
from sparkctl.method import judging, rollouts, tables
from sparkctl.method.ids import seed_of
from sparkctl.method.ports import Inputs, Reply, Request
from sparkctl.stages.stage import Context, Outputs, Stage


class Judge(Settings):
    """What decides the scores."""

    knobs: ClassVar[frozenset[str]] = frozenset(
        {"concurrency", "timeout_s", "retries", "rpm", "tpm", "budget_usd", "max_failed"}
    )
    uses = (
        Use(
            ("votes", "temperature", "seed", "max_tokens"),
            lambda s: s.model != "nano/rubric",
            'beside model = "nano/rubric", which computes the same scores each time',
            keyed=True,
        ),
    )

    step: int = 1
    """Which step is judged, from 1. Set by the pipeline."""
    model: str
    """Any litellm model; "nano/rubric" is the embedded rubric judge, which executes the candidates."""
    votes: int = Field(1, ge=1)
    """Calls per state; a score is the mean of those that succeeded."""
    temperature: float = Field(0.0, ge=0)
    reference: Literal["none", "answer", "solution"] = "solution"
    """What the judge is told of the truth: nothing, the correct option, or the worked solution as well."""
    seed: int = 0
    prompt: str
    """The rubric, from judge.md."""
    max_tokens: int = Field(2048, ge=1)
    """Most tokens of one answer: the bound of what a call can cost."""
    concurrency: int = Field(16, ge=1)
    """Knob: calls in flight at once, never more."""
    timeout_s: float = Field(60.0, gt=0)
    """Knob: seconds until a try is given up."""
    retries: int = Field(4, ge=0)
    """Knob: further tries of a call that failed, with back-off, after what Retry-After says."""
    rpm: float | None = Field(None, gt=0)
    """Knob: most requests per minute, evenly spread; None: no limit."""
    tpm: float | None = Field(None, gt=0)
    """Knob: most tokens per minute, of prompts and answers; None: no limit."""
    budget_usd: float | None = Field(None, ge=0)
    """Knob: US dollars that all judging in this data folder may cost, what was paid before included; None: no limit."""
    max_failed: MaxFailed = USUAL
    """Knob: share of the judge's calls that may fail: more than that, or all, end the stage. See config/outages.py."""


@dataclass(frozen=True)
class Case:
    """One state: its candidates' rows, and what the judge is shown of it; None where every candidate failed."""

    group: list[dict[str, Any]]
    shown: dict[str, Any] | None

    def requests(self, settings: Judge) -> list[Request]:
        """One per vote."""
        return [_request(self.shown, self.group[0], vote, settings) for vote in range(settings.votes) if self.shown]


def run(inputs: Inputs, settings: Judge, context: Context) -> Outputs:
    """See the module's docstring."""
    cases = read(inputs, settings)
    assert context.judge is not None
    answered = context.judge([request for case in cases for request in case.requests(settings)])
    _settle(answered, settings, context)
    replies = iter(answered)
    rows: list[dict[str, Any]] = []
    for case in cases:
        votes = [next(replies) for _ in range(settings.votes)] if case.shown else []
        asked = len(case.shown["candidates"]) if case.shown else 1
        rows += [_row(candidate, votes, asked, settings) for candidate in case.group]
    return {"scores": tables.from_rows("scores", rows)}


def read(inputs: Inputs, settings: Judge) -> list[Case]:
    """The states to judge, in the order of the candidates."""
    questions = {q["question_id"]: q for q in inputs["questions"].to_pylist()}
    history = rollouts.by_rollout(inputs.get("steps"))
    groups = rollouts.states(inputs["candidates"])
    return [Case(group, _case(group, questions, history, settings)) for group in groups]


def requests(inputs: Inputs, settings: Judge) -> list[Request]:
    """What the judge would be asked, before memory is consulted."""
    return [request for case in read(inputs, settings) for request in case.requests(settings)]


def calls(candidates: pa.Table, settings: Judge) -> int:
    """How many calls at most these candidates ask for."""
    return len(rollouts.states(candidates)) * settings.votes


def incomplete(scores: pa.Table, settings: Judge) -> bool:
    """Whether some call failed, so that asking again may bring more votes."""
    return any(votes < settings.votes for votes in scores["votes"].to_pylist())


def _settle(answered: list[Reply], settings: Judge, context: Context) -> None:
    errors = [reply.error for reply in answered if reply.error is not None]
    then = "what they asked about has no score. `sparkctl judge --retry-failed` asks for these alone"
    outages.settle("judge", "calls failed", len(answered), errors, settings.max_failed, context.warn, then=then)


def _case(
    group: list[dict[str, Any]], questions: dict[int, Any], history: dict[str, list[dict[str, Any]]], settings: Judge
) -> dict[str, Any] | None:
    """What the judge is shown of a state; None where every candidate failed."""
    queries = {row["tool_name"]: row["action_query"] for row in group if row["error"] is None}
    if not queries:
        return None
    first = group[0]
    question = rollouts.question_of(questions, first["question_id"], "candidates")
    before = [row for row in history.get(first["rollout_id"], []) if row["step_idx"] < first["step_idx"]]
    state = rollouts.state_of(question, before)
    thought = next(row["thought"] for row in group if row["error"] is None)
    return judging.case(question, state.steps, thought, queries, settings.reference)


def _request(shown: dict[str, Any], first: dict[str, Any], vote: int, settings: Judge) -> Request:
    shown = judging.shuffled(shown, seed_of(settings.seed, first["rollout_id"], first["step_idx"], vote))
    return {
        "model": settings.model,
        "messages": judging.messages(settings.prompt, shown),
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "tools": [candidate["tool_name"] for candidate in shown["candidates"]],
        "vote": vote,
    }


def _row(candidate: dict[str, Any], votes: list[Reply], asked: int, settings: Judge) -> dict[str, Any]:
    tool = candidate["tool_name"]
    verdicts = [judging.read(v.body["content"], [tool])[tool] for v in votes if v.body is not None]
    scored = [v.score for v in verdicts if v.score is not None]
    faults = [candidate["error"], *(v.error for v in votes), *(v.error for v in verdicts)]
    costs = [v.cost_usd for v in votes]
    return {
        "rollout_id": candidate["rollout_id"],
        "step_idx": candidate["step_idx"],
        "tool_name": tool,
        "judge": settings.model,
        "score": sum(scored) / len(scored) if scored else None,
        "reason": next((v.reason for v in verdicts if v.reason), None),
        "votes": len(scored),
        "cost_usd": None if None in costs else sum(c for c in costs if c is not None) / asked,
        "error": None if scored else next((fault for fault in faults if fault), "not judged"),
    }


STAGE = Stage(
    "judge", 1, Judge, run, "score every candidate 0-10", ("candidates", "questions"), ("steps",), ("scores",)
)
