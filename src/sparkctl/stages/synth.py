"""synth, step t: for every live rollout the policy writes one thought and a candidate for each of nine actions.

reads   questions; steps of the rounds before (none at step 1)
writes  candidates: nine rows per live rollout, in the order of the questions
asks    the policy: once for the thought, once for the nine inputs, which share everything up to the action's name

As in the paper: one thought, then 8 tools + CoT as candidates (SPaRK, extended abstract, "Method").
"""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from sparkctl.config import outages
from sparkctl.config.engines import Asked
from sparkctl.method import masking, rollouts, tables
from sparkctl.method.episode import ACTION, ACTIONS, INPUT, STOPS, THOUGHT, messages, system_prompt
from sparkctl.method.ids import seed_of
from sparkctl.method.ports import Inputs, Reply, Request
from sparkctl.method.rollouts import Rollout
from sparkctl.stages.stage import Context, Outputs, Stage


class Synth(Asked):
    """What decides the candidates. The question settings are read by the `questions` stage."""

    step: int = Field(1, ge=1)
    """Which step of the rollouts this round writes, from 1. Set by the pipeline."""
    samples: int = Field(1, ge=1)
    """Rollouts per question."""
    temperature: float = Field(1.0, ge=0)
    """Of the thought. 0 is greedy."""
    candidate_temperature: float = Field(0.0, ge=0)
    """Of the nine inputs. 0 is greedy."""
    max_thought_tokens: int = Field(48, ge=1)
    max_action_tokens: int = Field(48, ge=1)
    seed: int = 0
    prompt: str
    """System prompt; `{tools}` becomes the list of actions."""
    descriptions: dict[str, str]
    """Action -> the line that the prompt says of it. From tools.toml."""


def run(inputs: Inputs, settings: Synth, context: Context) -> Outputs:
    """See the module's docstring."""
    going = rollouts.live(inputs["questions"], inputs.get("steps"), settings.samples)
    system = system_prompt(settings.prompt, settings.descriptions)
    assert context.policy is not None
    policy = context.policy(None)
    thoughts = policy([thought_request(r, system, settings) for r in going])
    thinking = [(r, t) for r, t in zip(going, thoughts, strict=True) if _fault(t) is None]
    written = policy([candidates_request(r, t, system, settings) for r, t in thinking])
    _settle([*thoughts, *written], settings, context)
    left = iter(written)
    rows: list[dict[str, Any]] = []
    for rollout, thought in zip(going, thoughts, strict=True):
        rows += _rows(rollout, thought, next(left) if _fault(thought) is None else thought, settings)
    return {"candidates": tables.from_rows("candidates", rows) if rows else tables.empty("candidates")}


def _settle(replies: Sequence[Reply], settings: Synth, context: Context) -> None:
    errors = [reply.error for reply in replies if reply.error is not None]
    then = "these rollouts have no candidates, and end. `sparkctl synth --retry-failed` asks again"
    outages.settle(
        "synth", "calls of the policy failed", len(replies), errors, settings.max_failed, context.warn, then=then
    )


def thought_request(rollout: Rollout, system: str, settings: Synth) -> Request:
    """Write a thought, up to where the action's name would begin."""
    return {
        "messages": messages(rollout.state, system),
        "turn": [{"text": THOUGHT}],
        "forced": [""],
        "stop": [ACTION],
        "max_new_tokens": settings.max_thought_tokens,
        "temperature": settings.temperature,
        "seed": seed_of(settings.seed, rollout.id, settings.step, "thought"),
    }


def candidates_request(rollout: Rollout, thought: Reply, system: str, settings: Synth) -> Request:
    """Go on from the thought with each of the nine actions forced, up to the end of the turn."""
    said = _thought(thought)
    return {
        "messages": messages(rollout.state, system),
        "turn": [{"text": THOUGHT}, {"text": said["text"], "ids": said["ids"]}, {"text": ACTION}],
        "forced": [f" {action}{INPUT}" for action in ACTIONS],
        "stop": list(STOPS),
        "max_new_tokens": settings.max_action_tokens,
        "temperature": settings.candidate_temperature,
        "seed": seed_of(settings.seed, rollout.id, settings.step, "candidates"),
    }


def _rows(rollout: Rollout, thought: Reply, written: Reply, settings: Synth) -> list[dict[str, Any]]:
    common = {
        "rollout_id": rollout.id,
        "step_idx": settings.step,
        "question_id": rollout.question["question_id"],
        "sample_id": rollout.sample_id,
        "policy": settings.policy,
    }
    if fault := _fault(thought) or written.error:
        return [common | {"tool_name": action, "error": fault} for action in ACTIONS]
    assert written.body is not None
    said = _thought(thought)
    common |= {"thought": said["text"].strip(), "thought_ids": said["ids"], "thought_logprobs": said["logprobs"]}
    return [common | _candidate(a, c) for a, c in zip(ACTIONS, written.body["completions"], strict=True)]


def _fault(thought: Reply) -> str | None:
    """Why nothing can go on from a thought: the call failed, or its tokens hold a key."""
    if thought.body is not None and thought.body["completions"][0].get("masked"):
        return masking.DROPPED
    return thought.error


def _thought(reply: Reply) -> dict[str, Any]:
    """The thought as written, its turn still open: an end of turn in mid-prompt would close what the nine go on from."""
    assert reply.body is not None
    said = dict(reply.body["completions"][0])
    if said.get("ended_turn"):
        said |= {"ids": said["ids"][:-1], "logprobs": said["logprobs"][:-1]}
    return said


def _candidate(action: str, completion: dict[str, Any]) -> dict[str, Any]:
    if completion.get("masked"):
        return {"tool_name": action, "error": masking.DROPPED}
    return {
        "tool_name": action,
        "action_query": completion["text"].strip(),
        "action_ids": completion["ids"],
        "action_logprobs": completion["logprobs"],
        "finish": completion["finish"],
    }


STAGE = Stage(
    "synth",
    1,
    Synth,
    run,
    "write a thought and nine candidates per rollout",
    ("questions",),
    ("steps",),
    ("candidates",),
)
