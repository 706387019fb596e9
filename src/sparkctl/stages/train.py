"""train: a LoRA adapter from the judged steps, by supervised fine-tuning or step-wise offline PPO.

reads   questions; candidates, scores and steps of all rounds
writes  adapter (a peft folder), updates (one row per optimiser update), credit (one row per step)
asks    nothing: no generation, no judge

As in the paper: offline PPO with clipped ratio and KL on synthetic steps, LoRA (SPaRK, extended abstract).
Not as in the paper: no critic; the baseline is the recipe's choice. The old policy is the frozen start for all epochs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sparkctl import chat, rollouts, tables
from sparkctl.episode import ACTION, ACTIONS, THOUGHT, messages, system_prompt
from sparkctl.errors import SparkError
from sparkctl.objective import rewards
from sparkctl.settings import Settings
from sparkctl.stage import Context, Inputs, Outputs, Stage


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
    min_score: float = 6.0
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
    clip: float = 0.2
    kl: float = 0.05
    """Weight of KL(policy || frozen start), in the loss, per trained token."""
    epochs: int = 3
    batch_size: int = 64
    """Steps per optimiser update."""
    micro_batch_tokens: int = 8192
    """Padded positions in one forward pass; gradients are added up to a whole update."""
    lr: float = 1e-3
    warmup: float = 0.05
    """Share of the updates in which the rate rises; then it falls linearly to zero."""
    max_grad_norm: float = 1.0
    lora_r: int = 16
    lora_alpha: int = 32
    lora_targets: tuple[str, ...] | str = "all-linear"
    seed: int = 0
    device: str = "auto"
    """Knob: "cpu", "cuda", or "auto"."""


@dataclass(frozen=True)
class _Example:
    """A step with everything that its row of the credit table says; `item` is None where it was dropped."""

    credit: dict[str, Any]
    item: Any


def run(inputs: Inputs, settings: Train, context: Context) -> Outputs:
    """See the module's docstring."""
    from sparkctl.objective import trainer

    assert context.model is not None
    assert context.scratch is not None
    model, tokenizer = context.model()
    examples = _examples(inputs, settings, tokenizer, model.config.get_text_config().max_position_embeddings)
    credit = tables.from_rows("credit", [e.credit for e in examples])
    items = [e.item for e in examples if e.item is not None]
    if not any(item.advantage for item in items):
        raise SparkError(
            f"train.{settings.name}: no step carries signal ({_dropped(examples)}); see min_score and the weights"
        )
    folder = context.scratch / "adapter"
    rows = trainer.fit(model, tokenizer.pad_token_id or 0, items, settings, folder, context.progress)
    return {"adapter": folder, "updates": tables.from_rows("updates", rows), "credit": credit}


def _examples(inputs: Inputs, settings: Train, tokenizer: Any, longest: int) -> list[_Example]:
    """One example per executed step, in the order of the steps table, with advantages over all that are trained."""
    questions = {q["question_id"]: q for q in inputs["questions"].to_pylist()}
    history = rollouts.by_rollout(inputs["steps"])
    forks = _forks(inputs["candidates"], inputs["scores"])
    correct = {name: bool(rows[-1]["is_correct"]) for name, rows in history.items()}
    encode = _Encoder(tokenizer, settings)
    kept: list[tuple[dict[str, Any], rewards.Terms, list[float], tuple[list[int], list[int]]]] = []
    dropped: list[_Example] = []
    order = []
    for step in inputs["steps"].to_pylist():
        key = (step["rollout_id"], step["step_idx"])
        order.append(key)
        fork = forks.get(key, {})
        action = _action(step, fork, settings.action)
        why = _why_dropped(step, action, fork, settings.min_score)
        if why is None:
            before = [row for row in history[key[0]] if row["step_idx"] < key[1]]
            ids = encode(rollouts.question_of(questions, step["question_id"], "steps"), before, fork[action]["row"])
            why = None if sum(map(len, ids)) <= longest else f"longer than the model's context of {longest} tokens"
        if why is not None:
            dropped.append(_Example(_credit(step, why=why), None))
            continue
        terms = rewards.terms(
            fork[action]["score"], step["usage"], ACTIONS.index(action), correct[key[0]], _weights(settings)
        )
        kept.append(
            (step | {"tool_name": action}, terms, [c["score"] for c in fork.values() if c["score"] is not None], ids)
        )
    examples = dropped + _credited(kept, settings)
    place = {key: i for i, key in enumerate(order)}
    return sorted(examples, key=lambda e: place[e.credit["rollout_id"], e.credit["step_idx"]])


def _credited(
    kept: Sequence[tuple[dict[str, Any], rewards.Terms, list[float], tuple[list[int], list[int]]]], settings: Train
) -> list[_Example]:
    from sparkctl.objective.batches import Item

    if settings.objective == "sft":
        worth = [1.0] * len(kept)
    else:
        worth = rewards.advantages(
            [t.reward for _, t, _, _ in kept], [s for _, _, s, _ in kept], _weights(settings), settings.baseline
        )
    return [
        _Example(_credit(step, terms, advantage, len(ids[1])), Item(*ids, advantage))
        for (step, terms, _, ids), advantage in zip(kept, worth, strict=True)
    ]


def _weights(settings: Train) -> rewards.Weights:
    return rewards.Weights(settings.quality, settings.rarity, settings.correctness)


def _forks(candidates: Any, scores: Any) -> dict[tuple[str, int], dict[str, dict[str, Any]]]:
    """State -> action -> its candidate row and mean score over the judges (None: not judged)."""
    given = rollouts.mean_scores(scores)
    forks: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for row in candidates.to_pylist():
        fork = forks.setdefault((row["rollout_id"], row["step_idx"]), {})
        fork[row["tool_name"]] = {"row": row, "score": given.get(rollouts.key_of(row))}
    return forks


def _action(step: dict[str, Any], fork: dict[str, dict[str, Any]], which: str) -> Any:
    if which == "selected":
        return step["tool_name"]
    judged = [a for a in ACTIONS if a in fork and fork[a]["score"] is not None]
    return max(judged, key=lambda a: fork[a]["score"], default=None)


def _why_dropped(step: dict[str, Any], action: Any, fork: dict[str, dict[str, Any]], least: float) -> str | None:
    if action is None:
        return step["error"] or "no candidate has a score"
    if action not in fork:
        raise SparkError(
            f"candidates: no row for {step['rollout_id']}, step {step['step_idx']}, {action}; give the table of the same run"
        )
    if fork[action]["row"]["error"] is not None:
        return "the candidate failed"
    if fork[action]["score"] is None:
        return "not judged"
    return None if fork[action]["score"] >= least else "score below min_score"


class _Encoder:
    """A step's token ids, exactly as `synth` put them to the policy."""

    def __init__(self, tokenizer: Any, settings: Train) -> None:
        self.tokenizer = tokenizer
        self.system = system_prompt(settings.prompt, settings.descriptions)

    def __call__(
        self, question: dict[str, Any], before: list[dict[str, Any]], candidate: dict[str, Any]
    ) -> tuple[list[int], list[int]]:
        """(everything before the action, the action)."""
        state = chat.encode_chat(self.tokenizer, messages(rollouts.state_of(question, before), self.system))
        opening, action = chat.encode_text(self.tokenizer, THOUGHT), chat.encode_text(self.tokenizer, ACTION)
        return state + opening + candidate["thought_ids"] + action, candidate["action_ids"]


def _credit(
    step: dict[str, Any],
    terms: rewards.Terms | None = None,
    advantage: float | None = None,
    tokens: int = 0,
    why: str | None = None,
) -> dict[str, Any]:
    row = {
        "rollout_id": step["rollout_id"],
        "step_idx": step["step_idx"],
        "trained_tokens": tokens,
        "dropped_because": why,
    }
    if terms is None:
        return row
    return row | vars(terms) | {"tool_name": step["tool_name"], "reward": terms.reward, "advantage": advantage}


def _dropped(examples: Sequence[_Example]) -> str:
    reasons = [e.credit["dropped_because"] for e in examples if e.item is None]
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
