"""train: a LoRA adapter from the judged steps, by supervised fine-tuning or step-wise offline PPO.

reads   questions; candidates, scores and steps of all rounds
writes  adapter (a peft folder), updates (one row per optimiser update), credit (one row per step)
asks    nothing: no generation, no judge

As in the paper: offline PPO with clipped ratio and KL on synthetic steps, LoRA (SPaRK, extended abstract).
Not as in the paper: no critic; the baseline is the recipe's choice. The old policy is the frozen start for all epochs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from sparkctl import chat, rollouts, tables
from sparkctl.episode import ACTIONS, messages, system_prompt
from sparkctl.errors import SparkError
from sparkctl.objective import rewards
from sparkctl.settings import Settings
from sparkctl.stage import Context, Inputs, Outputs, Stage

_PPO_ONLY = ("quality", "rarity", "correctness", "baseline", "ratio", "clip", "kl")


class Train(Settings):
    """What decides the adapter."""

    knobs: ClassVar[frozenset[str]] = frozenset({"device"})

    name: str = "spark"
    """The variant's name. Set by the pipeline."""
    policy: str
    """The base model. From synth.toml, like dtype, prompt and descriptions."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    prompt: str
    descriptions: dict[str, str]
    objective: Literal["ppo", "sft"] = "ppo"
    action: Literal["selected", "best"] = "selected"
    """Which candidate of a state is trained on: the one taken, or the best scored (ties: action order)."""
    min_score: float = 0.0
    """Steps whose action scored lower are dropped, and counted in the credit table."""
    quality: float = 1.0
    """Weight of score / 10 in the reward. PPO only, like all down to `kl`."""
    rarity: float = 0.3
    """Weight of the rarity of the action when it was chosen."""
    correctness: float = 0.3
    """Weight of the rollout's answer being right."""
    baseline: rewards.Baseline = "none"
    ratio: Literal["token", "action"] = "action"
    """Level of the ratio; per token a rare tool is frozen at 1 + clip times its prior."""
    clip: float = Field(0.2, gt=0)
    kl: float = Field(0.05, ge=0)
    """Weight of KL(policy || frozen start), in the loss, per trained token."""
    epochs: int = Field(3, ge=1)
    batch_size: int = Field(64, ge=1)
    """Steps per optimiser update."""
    micro_batch_tokens: int = Field(8192, ge=1)
    """Padded positions in one forward pass; gradients are added up to a whole update."""
    lr: float = Field(1e-3, gt=0)
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the updates in which the rate rises; then it falls linearly to zero."""
    max_grad_norm: float = Field(1.0, gt=0)
    lora_r: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_targets: tuple[str, ...] | str = "all-linear"
    seed: int = 0
    device: str = "auto"
    """Knob: "cpu", "cuda", or "auto"."""

    def identity(self) -> dict[str, Any]:
        """Supervised fine-tuning uses no reward and no ratio: their settings do not make it stale."""
        unused = _PPO_ONLY if self.objective == "sft" else ()
        return {k: v for k, v in super().identity().items() if k not in unused}


@dataclass(frozen=True)
class _Candidate:
    """A candidate of a state: where its row is, and its mean score over the judges (None: not judged)."""

    place: int
    score: float | None
    error: str | None


_Fork = dict[str, _Candidate]
"""Action -> candidate, of one state."""


@dataclass(frozen=True)
class _Example:
    """A step, the action trained on and its tokens; or why it is dropped."""

    step: dict[str, Any]
    action: str | None = None
    prompt_ids: list[int] = field(default_factory=list)
    action_ids: list[int] = field(default_factory=list)
    terms: rewards.Terms | None = None
    fork_scores: list[float] = field(default_factory=list)
    advantage: float | None = None
    dropped_because: str | None = None

    def credit(self) -> dict[str, Any]:
        """The row of the credit table."""
        row = {name: self.step[name] for name in ("rollout_id", "step_idx")} | {"dropped_because": self.dropped_because}
        if self.dropped_because:
            return row | {"trained_tokens": 0}
        row |= {"tool_name": self.action, "trained_tokens": len(self.action_ids), "advantage": self.advantage}
        return row | (vars(self.terms) | {"reward": self.terms.reward} if self.terms else {})


def run(inputs: Inputs, settings: Train, context: Context) -> Outputs:
    """See the module's docstring."""
    from sparkctl.objective import trainer
    from sparkctl.objective.batches import Item

    assert context.model is not None
    assert context.scratch is not None
    model, tokenizer = context.model()
    longest = model.config.get_text_config().max_position_embeddings
    examples = _with_advantages(list(_examples(inputs, settings, tokenizer, longest)), settings)
    items = [Item(e.prompt_ids, e.action_ids, e.advantage) for e in examples if e.advantage is not None]
    if not any(item.advantage for item in items):
        raise SparkError(
            f"train.{settings.name}: no step carries signal ({_dropped(examples)}); see min_score and the weights"
        )
    folder = context.scratch / "adapter"
    rows = trainer.fit(model, tokenizer.pad_token_id or 0, items, settings, folder, context.progress)
    credit = tables.from_rows("credit", [e.credit() for e in examples])
    return {"adapter": folder, "updates": tables.from_rows("updates", rows), "credit": credit}


def _examples(inputs: Inputs, settings: Train, tokenizer: Any, longest: int) -> Iterator[_Example]:
    """One example per executed step, in the order of the steps table; the advantages are still open."""
    candidates = inputs["candidates"]
    questions = {q["question_id"]: q for q in inputs["questions"].to_pylist()}
    history = rollouts.by_rollout(inputs["steps"])
    forks = _forks(candidates, inputs["scores"], settings.policy)
    encode = _Encoder(tokenizer, settings)
    for step in inputs["steps"].to_pylist():
        fork = forks.get((step["rollout_id"], step["step_idx"]), {})
        action = _action(step, fork, settings.action)
        if why := _why_dropped(step, action, fork, settings.min_score):
            yield _Example(step, dropped_because=why)
            continue
        chosen, rows = fork[action], history[step["rollout_id"]]
        question = rollouts.question_of(questions, step["question_id"], "steps")
        before = [row for row in rows if row["step_idx"] < step["step_idx"]]
        ids = {name: candidates[name][chosen.place].as_py() for name in ("thought_ids", "action_ids")}
        example = _Example(
            step,
            action,
            prompt_ids=encode(question, before, ids["thought_ids"]),
            action_ids=ids["action_ids"],
            fork_scores=[c.score for c in fork.values() if c.score is not None],
        )
        if len(example.prompt_ids) + len(example.action_ids) > longest:
            yield _Example(step, dropped_because=f"longer than the model's context of {longest} tokens")
        elif settings.objective == "sft":
            yield replace(example, advantage=1.0)
        else:
            # Correctness is the whole rollout's: known at its end, it counts for each of its steps.
            correct = bool(rows[-1]["is_correct"])
            paid = rewards.terms(chosen.score or 0.0, step["usage"], ACTIONS.index(action), correct, _weights(settings))
            yield replace(example, terms=paid)


def _with_advantages(examples: list[_Example], settings: Train) -> list[_Example]:
    """The examples with reward less baseline; the baseline may be over all that are trained."""
    paid = [e for e in examples if e.terms]
    if not paid:
        return examples
    rewarded = [e.terms.reward for e in paid if e.terms]
    worth = iter(rewards.advantages(rewarded, [e.fork_scores for e in paid], _weights(settings), settings.baseline))
    return [replace(e, advantage=next(worth)) if e.terms else e for e in examples]


def _weights(settings: Train) -> rewards.Weights:
    return rewards.Weights(settings.quality, settings.rarity, settings.correctness)


def _forks(candidates: Any, scores: Any, policy: str) -> dict[tuple[str, int], _Fork]:
    """State -> its candidates."""
    given = rollouts.mean_scores(scores)
    forks: dict[tuple[str, int], _Fork] = {}
    named = candidates.select(["rollout_id", "step_idx", "tool_name", "policy", "error"])
    for place, row in enumerate(named.to_pylist()):
        if row["policy"] != policy:
            raise SparkError(
                f"candidates: written by policy '{row['policy']}', whose tokens are not those of '{policy}'"
            )
        fork = forks.setdefault((row["rollout_id"], row["step_idx"]), {})
        fork[row["tool_name"]] = _Candidate(place, given.get(rollouts.key_of(row)), row["error"])
    return forks


def _action(step: dict[str, Any], fork: _Fork, which: str) -> Any:
    if which == "selected":
        return step["tool_name"]
    judged = {a: fork[a].score for a in ACTIONS if a in fork and fork[a].score is not None}
    return max(judged, key=lambda a: judged[a] or 0.0, default=None)


def _why_dropped(step: dict[str, Any], action: Any, fork: _Fork, least: float) -> str | None:
    if action is None:
        return step["error"] or "no candidate has a score"
    if action not in fork:
        name = f"{step['rollout_id']}, step {step['step_idx']}, {action}"
        raise SparkError(f"candidates: no row for {name}; give the table of the same run")
    candidate = fork[action]
    if candidate.error is not None:
        return "the candidate failed"
    if candidate.score is None:
        return "not judged"
    return None if candidate.score >= least else "score below min_score"


class _Encoder:
    """A step's prompt in tokens, exactly as `synth` put it to the policy."""

    def __init__(self, tokenizer: Any, settings: Train) -> None:
        self.tokenizer = tokenizer
        self.system = system_prompt(settings.prompt, settings.descriptions)

    def __call__(self, question: dict[str, Any], before: list[dict[str, Any]], thought_ids: list[int]) -> list[int]:
        """Everything before the action: the state, the opening of the turn, the thought as it was sampled."""
        state = chat.encode_chat(self.tokenizer, messages(rollouts.state_of(question, before), self.system))
        return state + chat.thought_prefix(self.tokenizer) + thought_ids + chat.action_prefix(self.tokenizer)


def _dropped(examples: Sequence[_Example]) -> str:
    reasons = [e.dropped_because for e in examples if e.dropped_because]
    counted = ", ".join(f"{reasons.count(r)} {r}" for r in sorted(set(reasons)))
    return f"{len(examples)} steps; dropped: {counted or 'none'}"


STAGE = Stage(
    "train",
    1,
    Train,
    run,
    "train a LoRA adapter on the judged steps",
    ("questions", "candidates", "scores", "steps"),
    (),
    ("adapter", "updates", "credit"),
)
