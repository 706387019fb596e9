"""The settings of train: what decides the adapter."""

from typing import ClassVar, Literal

from pydantic import Field

from sparkctl.config.settings import Settings
from sparkctl.training import advantages, rewards, setting_rules

Group = Literal["none", "fork", "question", "batch"]


class Train(Settings):
    """What decides the adapter."""

    knobs: ClassVar[frozenset[str]] = frozenset(
        {"device", "processes", "packing", "micro_batch_tokens", "attention", "gradient_checkpointing"}
        | {"checkpoint_every", "tensorboard", "warn_kl", "warn_collapse"}
    )
    uses = setting_rules.USES
    clashes = setting_rules.CLASHES

    name: str = "spark"
    """The variant's name. Set by the pipeline."""
    policy: str
    """The base model. From synth.toml, like dtype, prompt and descriptions."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quantise: Literal["none", "nf4"] = "none"
    """Of the frozen weights: nf4 is 4-bit with double quantisation (QLoRA, arXiv 2305.14314)."""
    prompt: str
    descriptions: dict[str, str]

    # What is trained on
    objective: Literal["sft", "ppo", "expected"] = "ppo"
    action: Literal["selected", "best", "all"] = "selected"
    """Of a state: the action taken, the best scored (ties: action order), or every judged one."""
    min_score: float = Field(0.0, ge=0, le=10)
    """Actions that scored lower are dropped, and counted in the credit table."""
    truncated: Literal["drop", "train"] = "drop"
    """Actions whose input was cut at its token limit: nobody knows what they would have been."""

    # Reward and advantage; see rewards.py and advantages.py. Not used by sft
    quality: float = 1.0
    """Weight of score / 10."""
    rarity: float = 0.3
    """Weight of how rare the action is."""
    rarity_of: Literal["policy", "selection"] = "policy"
    """Rare among what: the frozen policy's own choices, or what had been selected when the action was."""
    rarity_baseline: Literal["viable", "none"] = "viable"
    """viable: rarity counts as far as the viable candidates of the state are less rare, and `group` compares without it;
    none: it is part of what `group` compares."""
    correctness: float = 0.3
    """Weight of the rollout's answer being right; paid to executed actions only."""
    combine: rewards.Combine = "sum"
    group: Group = "none"
    """What quality is compared with: nothing, the nine candidates, the question's rollouts, everything."""
    baseline: advantages.Baseline = "mean"
    scale: advantages.Scale = "none"
    outcome_group: Literal["none", "question", "batch"] = "none"
    """What correctness is compared with: rollouts, each counted once, of the same question or all."""
    nudge: float = Field(0.0, ge=0)
    """Adds nudge * rarity to the advantage, bounded by nudge_cap times its size."""
    nudge_cap: float = Field(0.5, ge=0, lt=1)
    critic: Literal["none", "value"] = "none"
    """value: a second LoRA with a value head is the baseline, and GAE runs over the steps of a rollout."""
    critic_lr: float = Field(1e-2, gt=0)
    gamma: float = Field(1.0, ge=0, le=1)
    lam: float = Field(0.95, ge=0, le=1)

    # Ratio, clip range, gate; see losses.py. ppo only
    ratio: Literal["token", "action", "sequence"] = "action"
    """Level of the ratio; per token a rare tool is frozen at 1 + clip times its prior."""
    gate: Literal["clip", "soft"] = "clip"
    clip: float = Field(0.2, gt=0, lt=1)
    clip_high: float | None = Field(None, gt=0)
    """Upper half of the clip range; none: the same as clip."""
    dual_clip: float | None = Field(None, gt=1)
    tau_pos: float = Field(1.0, gt=0)
    tau_neg: float = Field(1.05, gt=0)

    # Regularisers; see losses.py. Not used by sft
    kl: float = Field(0.05, ge=0)
    """Weight of the distance from the frozen start, per trained token."""
    kl_form: Literal["k1", "k3", "fork"] = "k3"
    llds: float = Field(0.0, ge=0)
    """Weight of what keeps good actions from becoming less likely."""

    # Optimiser and adapter
    epochs: int = Field(3, ge=1)
    batch_size: int = Field(64, ge=1)
    """States per optimiser update; rollouts are not split, so a few more."""
    lr: float = Field(1e-3, gt=0)
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the updates in which the rate rises; then it falls linearly to zero."""
    max_grad_norm: float = Field(1.0, gt=0)
    lora_r: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_targets: tuple[str, ...] | str = "all-linear"
    seed: int = 0

    # Knobs: how it is computed, not what
    packing: Literal["tree", "rows"] = "tree"
    """tree: what the candidates of a rollout share goes through the model once; rows: each by itself."""
    micro_batch_tokens: int = Field(8192, ge=1)
    """Positions in one forward pass; gradients are added up to a whole update."""
    attention: Literal["sdpa", "flex"] = "sdpa"
    """flex: FlexAttention with block masks, on a GPU."""
    gradient_checkpointing: bool = False
    device: str = "auto"
    """"cpu", "cuda", or "auto"."""
    processes: int = Field(1, ge=1)
    """Processes that share each update, one per GPU."""
    checkpoint_every: int = Field(20, ge=1)
    """Updates between checkpoints."""
    tensorboard: bool = False
    """Write TensorBoard's event files into data/RUN/tensorboard/VARIANT."""
    warn_kl: float = Field(1.0, gt=0)
    """Warn where approx_kl exceeds this."""
    warn_collapse: float = Field(0.5, ge=0, le=1)
    """Warn where the tool entropy falls below this share of what it was at first."""

    @property
    def pays_by_outcome(self) -> bool:
        """Whether the reward is nothing without the outcome."""
        return self.combine == "product" and self.objective != "sft"
