"""eval: a policy answers unseen questions, choosing its own actions; the tools run.

reads   eval_questions; the adapter to evaluate (none: the base model); with shots: examples, solved questions
writes  answers: one row per question and sample
asks    the policy: once per rollout and step; the tools: once per action that is not `cot`

Nothing is forced here: the policy writes thought, action and input freely, and is shown an error for a turn that cannot
be read. A failed call of the policy ends the rollout: nothing is known then, and `is_correct` is null; no answer by the
last step is wrong. `scoring` says how the answer is read, both times with the functions of `sparkctl score`. `strict`:
what the policy committed to; what cannot be read is wrong, never guessed. `official`: MMLU-Pro's published patterns on the last
turn, and where they find nothing its random guess.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from sparkctl.config import outages
from sparkctl.config.engines import Asked
from sparkctl.config.settings import Clash, Use
from sparkctl.method import checks, rollouts, tables
from sparkctl.method.answers import Mode, Reading, guess, read_official
from sparkctl.method.episode import (
    COT,
    COT_OBSERVATION,
    STOPS,
    THOUGHT,
    State,
    Step,
    Turn,
    messages,
    parse_turn,
    system_prompt,
)
from sparkctl.method.ids import seed_of
from sparkctl.method.ports import Inputs, Reply, Request
from sparkctl.method.rollouts import Rollout
from sparkctl.method.shots import chosen, shots_of
from sparkctl.stages.stage import Context, Outputs, Stage
from sparkctl.tools.settings import Tools
from sparkctl.training.adapters import check_base, check_questions


class Eval(Asked):
    """What decides the answers. The base model, dtype, steps and prompt are those of synth.toml; so is the engine, unless
    eval.toml names another."""

    # What the examples are decides, and that is known by their bytes; where they lie does not.
    knobs: ClassVar[frozenset[str]] = Asked.knobs | {"shots_from"}
    uses = (*Asked.uses, Use(("shots_from",), lambda s: s.shots != 0, "with shots = 0"))
    clashes = (
        *Asked.clashes,
        Clash(
            lambda s: s.shots and not s.shots_from,
            "shots needs shots_from, such as the validation split of MMLU-Pro",
        ),
    )

    name: str = "base"
    """The policy's name in the answers table. Set by the pipeline."""
    any_precision: bool = False
    """Lay an adapter over a base in another precision than it was trained on."""
    steps: int = 5
    prompt: str
    scoring: Mode = "strict"
    """How the answer is read, whatever ends the rollout."""
    samples: int = Field(1, ge=1)
    """Rollouts per question."""
    temperature: float = Field(1.0, ge=0)
    """Of everything the policy writes. 0 is greedy."""
    shots: int = Field(0, ge=0)
    """Worked examples of the question's category, told before it."""
    shots_from: str | None = None
    """Of what: a Parquet file in MMLU-Pro's schema with `cot_content`, or `hub:NAME@REVISION:SPLIT`."""
    max_turn_tokens: int = Field(96, ge=1)
    usd_per_million_tokens: tuple[float, float] | None = None
    """What tokens cost: (of a prompt, sampled). None: unknown, and so is the cost of every answer."""
    seed: int = 0
    tools: Tools

    @field_validator("usd_per_million_tokens", mode="before")
    @classmethod
    def _two_prices(cls, given: Any) -> Any:
        prices = given if isinstance(given, tuple) else (given,)
        numbers = [p for p in prices if isinstance(p, int | float) and 0 <= p < math.inf]
        if given is not None and (len(prices) != 2 or len(numbers) != 2):
            raise ValueError("give two prices, [of a million prompt tokens, of a million sampled ones], in dollars")
        return given


@dataclass
class _Run:
    """A rollout under way."""

    rollout: Rollout
    shots: tuple[State, ...]
    steps: list[Step] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    failed_calls: int = 0
    unreadable_turns: int = 0
    taken: int = 0
    tokens: int = 0
    prompt_tokens: int | None = 0
    """None where a reply is from before prompts were counted."""
    output: str = ""
    answered: bool = False
    reading: Reading | None = None
    """By the strict rules, of the answer that ended the rollout."""
    error: str | None = None

    @property
    def over(self) -> bool:
        return self.answered or self.error is not None


def run(inputs: Inputs, settings: Eval, context: Context) -> Outputs:
    """See the module's docstring."""
    system = system_prompt(settings.prompt, settings.tools.descriptions)
    assert context.policy is not None
    adapter: Path | None = inputs.get("adapter")
    if adapter is not None:
        check_base(adapter, settings, context.identity(settings.policy))
        check_questions(adapter, [rollouts.content(q) for q in inputs["eval_questions"].to_pylist()])
    policy = context.policy(adapter)
    shots = _shots(inputs, settings, context)
    live = rollouts.live(inputs["eval_questions"], None, settings.samples)
    runs = [_Run(r, shots.get(r.question["question_id"], ())) for r in live]
    for step in range(1, settings.steps + 1):
        going = [r for r in runs if not r.over]
        replies = policy([_request(r, step, system, settings) for r in going])
        _execute([(r, t) for r, reply in zip(going, replies, strict=True) if (t := _take(r, reply))], context)
    _settle(runs, settings, context)
    return {"answers": tables.from_rows("answers", [_row(r, settings) for r in runs])}


def _settle(runs: list[_Run], settings: Eval, context: Context) -> None:
    errors = [run.error for run in runs if run.error is not None]
    calls = sum(run.taken for run in runs) + len(errors)
    then = "what they were to answer is in no figure. `sparkctl eval --retry-failed` asks again"
    outages.settle("eval", "calls of the policy failed", calls, errors, settings.max_failed, context.warn, then=then)


def _shots(inputs: Inputs, settings: Eval, context: Context) -> dict[int, tuple[State, ...]]:
    """Question -> the worked examples told before it."""
    if not settings.shots:
        return {}
    source = str(settings.shots_from)
    table = inputs.get("examples")
    if table is None:
        assert context.dataset is not None
        table = checks.check(context.dataset(source), "questions", source)
    shots = shots_of(table.to_pylist())
    asked = inputs["eval_questions"].to_pylist()
    return {question["question_id"]: chosen(shots, question, settings.shots, source) for question in asked}


def _request(run: _Run, step: int, system: str, settings: Eval) -> Request:
    state = rollouts.State(run.rollout.state.question, run.rollout.state.options, tuple(run.steps))
    return {
        "messages": messages(state, system, run.shots),
        "turn": [{"text": THOUGHT}],
        "forced": [""],
        "stop": list(STOPS),
        "max_new_tokens": settings.max_turn_tokens,
        "temperature": settings.temperature,
        "seed": seed_of(settings.seed, run.rollout.id, step),
    }


def _take(run: _Run, reply: Reply) -> Turn | None:
    """Read the turn into the run; the turn where an action remains to be executed."""
    if reply.body is None:
        run.error = reply.error
        return None
    run.taken += 1
    said = reply.body["completions"][0]
    run.output = said["text"]
    run.tokens += len(said["ids"]) or said.get("sampled", 0)  # of a masked one no ids are kept
    asked = reply.body.get("prompt_tokens")
    run.prompt_tokens = None if asked is None or run.prompt_tokens is None else run.prompt_tokens + asked
    turn = parse_turn(run.output)
    written, run.reading = rollouts.answer_of(run.rollout.question, turn.tool_name, turn.action_query)
    run.answered = written is not None
    return None if run.answered else turn


def _execute(turns: list[tuple[_Run, Turn]], context: Context) -> None:
    """Run the actions of all rollouts in one batch, and write what came back into each."""
    calls = [(run, turn) for run, turn in turns if turn.tool_name not in (None, COT)]
    assert context.tools is not None
    replies = iter(context.tools([{"tool_name": t.tool_name, "query": t.action_query} for _, t in calls]))
    for run, turn in turns:
        if turn.tool_name is None:
            seen = {"observation": f"error: {turn.error}"}
            run.unreadable_turns += 1
        elif turn.tool_name == COT:
            seen = {"observation": COT_OBSERVATION}
        else:
            seen = rollouts.observed(next(replies))
            run.failed_calls += not seen["observation_ok"]
        if turn.tool_name:
            run.tools.append(turn.tool_name)
        run.steps.append(Step(turn.thought, turn.tool_name or "?", turn.action_query or "", str(seen["observation"])))


def _row(run: _Run, settings: Eval) -> dict[str, Any]:
    question = run.rollout.question
    reading = run.reading if settings.scoring == "strict" else _official(run, settings.seed)
    return {
        "policy": settings.name,
        "question_id": question["question_id"],
        "sample_id": run.rollout.sample_id,
        "category": question["category"],
        "tools": run.tools,
        "failed_calls": run.failed_calls,
        "unreadable_turns": run.unreadable_turns,
        "steps": run.taken,
        "tokens": run.tokens,
        "prompt_tokens": run.prompt_tokens,
        "cost_usd": _cost(run, settings.usd_per_million_tokens),
        "output": run.output,
        "answer": reading.letter if reading else None,
        "extracted_by": reading.by if reading else None,
        "is_correct": rollouts.is_correct(question, reading) if run.error is None else None,
        "error": run.error,
    }


def _official(run: _Run, seed: int) -> Reading | None:
    """The last turn by the published rules; nothing where a call failed: what was then the last turn is no answer."""
    if run.error is not None:
        return None
    question = run.rollout.question
    return read_official(run.output) or guess(question["question_id"], question["options"], seed)


def _cost(run: _Run, usd_per_million: tuple[float, float] | None) -> float | None:
    """In US dollars; None where the price or the number of tokens is unknown, never 0."""
    if usd_per_million is None or run.prompt_tokens is None:
        return None
    of_prompts, sampled = usd_per_million
    return (run.prompt_tokens * of_prompts + run.tokens * sampled) / 1e6


STAGE = Stage(
    "eval",
    4,
    Eval,
    run,
    "let a policy answer unseen questions, choosing its own actions",
    ("eval_questions",),
    ("adapter", "examples"),
    ("answers",),
)
