"""reference: log-probs of every candidate under the frozen start, computed once for all objectives and epochs.

reads   questions, candidates; the steps that led to their states
writes  reference: one row per candidate
asks    nothing: forward passes of the policy without an adapter

The old policy of the ratio and the reference of the KL are both this one. It does not read the scores: another judge,
another reward or another objective needs no new pass.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field

from sparkctl.config.settings import Settings
from sparkctl.method import tables
from sparkctl.method.ports import Inputs
from sparkctl.stages.stage import Context, Outputs, Stage
from sparkctl.training import tokens
from sparkctl.training.trees import Action, Fork, Tree


class Reference(Settings):
    """What decides the log-probs."""

    knobs: ClassVar[frozenset[str]] = frozenset({"device", "packing", "micro_batch_tokens", "attention"})

    policy: str
    """The base model. From synth.toml, like dtype, prompt and descriptions."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quantise: Literal["none", "nf4"] = "none"
    """Precision of the frozen weights; all here are from train.toml."""
    prompt: str
    descriptions: dict[str, str]
    packing: Literal["tree", "rows"] = "tree"
    """Knob: the same numbers either way."""
    micro_batch_tokens: int = Field(8192, ge=1)
    """Knob: positions in one forward pass."""
    attention: Literal["sdpa", "flex"] = "sdpa"
    """Knob: see train.toml."""
    device: str = "auto"
    """Knob: "cpu", "cuda", or "auto"."""


def run(inputs: Inputs, settings: Reference, context: Context) -> Outputs:
    """See the module's docstring."""
    assert context.learner is not None
    learner = context.learner()
    states = list(tokens.states(inputs, tokens.Reader.of(learner, settings), settings.policy))
    scored = learner.logprobs(_trees(states))
    rows = [_row(state, action, scored) for state in states for action in state.candidates]
    return {"reference": tables.from_rows("reference", rows)}


def _trees(states: list[tokens.State]) -> list[Tree]:
    """One tree per rollout, with a fork for each state that has a candidate."""
    forks: dict[str, list[Fork]] = {}
    for state in states:
        if good := tuple(Action(c.ids) for c in state.candidates.values() if c.error is None):
            forks.setdefault(state.rollout_id, []).append(Fork(state.prompt_ids, good, label=state.step_idx))
    return [Tree(rollout, tuple(made)) for rollout, made in forks.items()]


def _row(state: tokens.State, action: str, scored: dict[tuple[str, int], list[list[float]]]) -> dict[str, Any]:
    candidate = state.candidates[action]
    row: dict[str, Any] = {"rollout_id": state.rollout_id, "step_idx": state.step_idx, "tool_name": action}
    if candidate.error is not None:
        return row | {"error": candidate.error}
    good = [name for name, other in state.candidates.items() if other.error is None]
    logprobs = scored[state.rollout_id, state.step_idx][good.index(action)]
    return row | {"logprobs": logprobs, "prompt_tokens": len(state.prompt_ids)}


STAGE = Stage(
    "reference",
    1,
    Reference,
    run,
    "log-probs of every candidate under the frozen start",
    ("questions", "candidates"),
    ("steps",),
    ("reference",),
)
