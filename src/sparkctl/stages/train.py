"""train: a LoRA adapter from the judged steps: supervised fine-tuning, step-wise offline PPO, or the exact expectation.

reads   questions; candidates, scores and steps of all rounds; reference (log-probs under the frozen start)
writes  adapter (a peft folder), updates (one row per optimiser update), credit (one row per action)
asks    nothing: no generation, no judge

As in the paper: offline PPO with clipped ratio and KL on synthetic steps, LoRA; with `critic = "value"` a second LoRA
with a value head (SPaRK, extended abstract and released model). The old policy is the frozen start for all epochs.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import pstdev
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from sparkctl import rollouts, tables, tokens
from sparkctl.adapters import write_questions
from sparkctl.episode import ACTIONS
from sparkctl.errors import SparkError
from sparkctl.objective import advantages, parts, rewards
from sparkctl.objective.trees import Action, Fork, Tree, distinguishing
from sparkctl.settings import Settings
from sparkctl.stage import Context, Inputs, Outputs, Stage

Group = Literal["none", "fork", "question", "batch"]
INERT = 0.05
"""A term whose spread over the trained actions, after its baseline, is below this is not acting: half a point of the
judge. Issue 11."""


class Train(Settings):
    """What decides the adapter."""

    knobs: ClassVar[frozenset[str]] = frozenset(
        {"device", "processes", "packing", "micro_batch_tokens", "attention", "gradient_checkpointing"}
        | {"checkpoint_every", "tensorboard", "warn_kl", "warn_collapse"}
    )
    uses = parts.USES
    clashes = parts.CLASHES

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

    # Reward and advantage; see objective/rewards.py and objective/advantages.py. Not used by sft
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

    # Ratio, clip range, gate; see objective/losses.py. ppo only
    ratio: Literal["token", "action", "sequence"] = "action"
    """Level of the ratio; per token a rare tool is frozen at 1 + clip times its prior."""
    gate: Literal["clip", "soft"] = "clip"
    clip: float = Field(0.2, gt=0, lt=1)
    clip_high: float | None = Field(None, gt=0)
    """Upper half of the clip range; none: the same as clip."""
    dual_clip: float | None = Field(None, gt=1)
    tau_pos: float = Field(1.0, gt=0)
    tau_neg: float = Field(1.05, gt=0)

    # Regularisers; see objective/losses.py. Not used by sft
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


_Start = tuple[list[float] | None, int | None]
"""Log-probs of an action's tokens under the frozen start, and how many tokens stood before them."""


@dataclass
class _Entry:
    """An action of a state: its tokens, reward and advantage; or why it is dropped."""

    step: Mapping[str, Any]
    action: str | None
    dropped_because: str | None = None
    prompt_ids: Sequence[int] = ()
    ids: list[int] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    terms: rewards.Terms | None = None
    reward: float = 0.0
    rarity: float = 0.0
    advantage: float = 0.0
    trained: bool = True
    """Whether it carries loss; the other candidates of a fork may only be compared with."""

    @property
    def state(self) -> tuple[str, int]:
        return self.step["rollout_id"], self.step["step_idx"]

    @property
    def knows_outcome(self) -> bool:
        """Whether it was executed and its rollout ended right or wrong, not by an outage: only then there is an outcome."""
        return self.terms is not None and self.terms.correctness is not None

    def credit(self) -> dict[str, Any]:
        """The row of the credit table."""
        row = {name: self.step[name] for name in ("rollout_id", "step_idx")} | {"tool_name": self.action}
        if self.dropped_because:
            return row | {"dropped_because": self.dropped_because, "trained_tokens": 0}
        row |= {"trained_tokens": len(self.ids), "advantage": self.advantage}
        return row | (vars(self.terms) | {"reward": self.reward} if self.terms else {})


def run(inputs: Inputs, settings: Train, context: Context) -> Outputs:
    """See the module's docstring."""
    assert context.learner is not None
    assert context.scratch is not None
    learner = context.learner()
    reader = tokens.Reader.of(learner, settings)
    entries = credited(inputs, settings, reader)
    _check_signal(entries, settings)
    for line in inert(entries, settings):
        context.warn(line)
    folder = context.scratch / "adapter"
    rows = learner.fit(trees(entries, settings, reader), folder)
    write_questions(folder, [rollouts.content(q) for q in inputs["questions"].to_pylist()])
    return {"adapter": folder, "updates": tables.from_rows("updates", rows), "credit": credit_table(entries)}


def credit_table(entries: Sequence[_Entry]) -> pa.Table:
    """The credit table: what is trained on, and what is dropped."""
    return tables.from_rows("credit", [e.credit() for e in entries if e.trained or e.dropped_because])


def trees(entries: Sequence[_Entry], settings: Train, reader: tokens.Reader) -> list[Tree]:
    """The trained actions, as one tree per rollout."""
    names = distinguishing(reader.names())
    forks: dict[str, dict[int, list[_Entry]]] = {}
    for entry in entries:
        if entry.trained and not entry.dropped_because:
            rollout, step = entry.state
            forks.setdefault(rollout, {}).setdefault(step, []).append(entry)
    return [
        Tree(rollout, tuple(_fork(step, of, settings) for step, of in sorted(steps.items())), names)
        for rollout, steps in forks.items()
    ]


def _fork(step: int, entries: Sequence[_Entry], settings: Train) -> Fork:
    first = entries[0]
    if settings.critic == "value":
        # The critic's estimate is added to what has a baseline of its own.
        own, reward = _parts_of_step(first, settings)
        return Fork(first.prompt_ids, (Action(first.ids, first.start, own, first.reward),), step, reward)
    actions = tuple(Action(e.ids, e.start, e.advantage, e.reward) for e in entries)
    return Fork(first.prompt_ids, actions, step)


# ---- which actions, and why others are dropped -----------------------------------------------------------------------


def credited(inputs: Inputs, settings: Train, reader: tokens.Reader) -> list[_Entry]:
    """Every executed step's actions with their advantage, in the order of the steps table, or why they are dropped."""
    found = {(s.rollout_id, s.step_idx): s for s in tokens.states(inputs, reader, settings.policy)}
    given = rollouts.mean_scores(inputs["scores"])
    # Without the reference there is no training, but an audit.
    started = _started(inputs["reference"]) if "reference" in inputs else None
    outcomes = {name: rows[-1]["is_correct"] for name, rows in rollouts.by_rollout(inputs["steps"]).items()}
    names = _Names.of(found.values(), reader) if _reads_names(settings) else None
    entries: list[_Entry] = []
    for step in inputs["steps"].to_pylist():
        state = found.get((step["rollout_id"], step["step_idx"]))
        fork = _Judged(step, state, given, started, outcomes[step["rollout_id"]], names)
        entries += fork.entries(settings)
    if settings.critic == "value":
        _drop_broken_rollouts(entries)
    if settings.objective == "sft":
        for entry in entries:
            entry.terms, entry.advantage = None, 1.0
    elif settings.critic == "value":
        _estimate_over_steps(entries, settings)
    else:
        _estimate(entries, settings)
    return entries


def _started(reference: pa.Table) -> dict[rollouts.CandidateKey, _Start]:
    return {rollouts.key_of(row): (row["logprobs"], row["prompt_tokens"]) for row in reference.to_pylist()}


def _reads_names(settings: Train) -> bool:
    """Whether it matters how likely the policy finds each action's name."""
    acts = settings.objective != "sft" and bool(settings.rarity or settings.nudge)
    return acts and (settings.rarity_of == "policy" or settings.rarity_baseline == "viable")


@dataclass(frozen=True)
class _Names:
    """How likely the policy finds the names of the actions, by itself and in each state."""

    rarities: list[float]
    logprobs: Mapping[tuple[str, int], list[float]]
    """State -> per action, NaN where there is no candidate."""

    @classmethod
    def of(cls, states: Iterable[tokens.State], reader: tokens.Reader) -> "_Names":
        size = dict(zip(ACTIONS, map(len, distinguishing(reader.names())), strict=True))
        found = {(s.rollout_id, s.step_idx): [_name_logprob(s, a, size[a]) for a in ACTIONS] for s in states}
        shares = rewards.policy_shares(list(found.values())) if found else []
        return cls([rewards.policy_rarity(share, len(ACTIONS)) for share in shares], found)


def _name_logprob(state: tokens.State, action: str, size: int) -> float:
    """Log-prob of the `size` tokens that tell the action's name from all others, under the policy that wrote it."""
    candidate = state.candidates.get(action)
    if candidate is None or candidate.error is not None:
        return math.nan
    if len(candidate.logprobs) < min(size, len(candidate.ids)):
        raise SparkError(
            f"candidates: no action_logprobs of {state.rollout_id}, step {state.step_idx}, {action}, which say how rare the "
            f'policy finds it; give the table that synth wrote, or set rarity_of = "selection" and rarity_baseline = "none"'
        )
    return float(sum(candidate.logprobs[:size]))


@dataclass(frozen=True)
class _Judged:
    """An executed step, its state's candidates and what they scored."""

    step: Mapping[str, Any]
    state: tokens.State | None
    given: Mapping[rollouts.CandidateKey, float | None]
    started: Mapping[rollouts.CandidateKey, _Start] | None
    correct: bool | None
    names: _Names | None = None

    def entries(self, settings: Train) -> list[_Entry]:
        wanted = self._wanted(settings.action)
        if not wanted:
            return [_Entry(self.step, None, self.step["error"] or "no candidate has a score")]
        made = [self._entry(action, settings) for action in wanted]
        if settings.action == "all" and sum(e.dropped_because is None for e in made) < 2:
            for entry in made:
                entry.dropped_because = entry.dropped_because or "no other candidate to compare with"
        if settings.group == "fork" and settings.action != "all":
            # They carry no loss, but the chosen one is compared with them.
            others = [
                self._entry(a, settings, trained=False)
                for a in ACTIONS
                if a not in wanted and self._score(a) is not None
            ]
            made += [entry for entry in others if entry.dropped_because is None]
        return made

    def _wanted(self, which: str) -> list[str]:
        if which == "selected":
            return [self.step["tool_name"]] if self.step["tool_name"] else []
        judged = {a: score for a in ACTIONS if (score := self._score(a)) is not None}
        if which == "best":
            return [max(judged, key=lambda a: judged[a])] if judged else []
        return [a for a in ACTIONS if self.state and a in self.state.candidates] if judged else []

    def _score(self, action: str) -> float | None:
        return self.given.get((self.step["rollout_id"], self.step["step_idx"], action))

    def _start(self, action: str, size: int) -> list[float]:
        """Log-probs of the action's tokens under the frozen start."""
        if self.started is None:
            return []
        rollout, step = self.step["rollout_id"], self.step["step_idx"]
        start, before = self.started.get((rollout, step, action), (None, None))
        if start is None or len(start) != size or before != len(self.state.prompt_ids if self.state else ()):
            raise SparkError(
                f"reference: no log-probs of the {size} tokens of {rollout}, step {step}, {action}, after their prompt; "
                f"give the table made from these candidates and steps"
            )
        return start

    def _entry(self, action: str, settings: Train, trained: bool = True) -> _Entry:
        key = (self.step["rollout_id"], self.step["step_idx"], action)
        if self.state is None or action not in self.state.candidates:
            raise SparkError(
                f"candidates: no row for {key[0]}, step {key[1]}, {action}; give the table of the same run"
            )
        candidate, score = self.state.candidates[action], self._score(action)
        if candidate.error is not None:
            return _Entry(self.step, action, candidate.error)
        if candidate.cut and settings.truncated == "drop":
            return _Entry(self.step, action, "cut at its token limit")
        if score is None:
            return _Entry(self.step, action, "not judged")
        if trained and score < settings.min_score:
            return _Entry(self.step, action, "score below min_score")
        start = self._start(action, len(candidate.ids))
        correct = self.correct if action == self.step["tool_name"] else None
        weights = rewards.Weights(settings.quality, settings.rarity, settings.correctness)
        if correct is None and action == self.step["tool_name"] and settings.pays_by_outcome:
            return _Entry(self.step, action, "the outcome of its rollout is not known")
        rare = self._rarities(settings)[ACTIONS.index(action)]
        terms = rewards.terms(score, rare, correct, weights)
        reward = sum(rewards.combined(terms, settings.combine))
        tokens = self.state.prompt_ids, candidate.ids, start
        return _Entry(self.step, action, None, *tokens, terms, reward, rare, trained=trained)

    def _rarities(self, settings: Train) -> list[float]:
        """(action,): how rare each is, as the settings have it."""
        if self.names and settings.rarity_of == "policy":
            rarities = self.names.rarities
        else:
            rarities = [rewards.rarity(self.step["usage"], i) for i in range(len(ACTIONS))]
        if self.names is None or settings.rarity_baseline == "none":
            return rarities
        return rewards.over_viable(rarities, self.names.logprobs[self._key], self._viable())

    @property
    def _key(self) -> tuple[str, int]:
        return self.step["rollout_id"], self.step["step_idx"]

    def _viable(self) -> list[bool]:
        """(action,): as `select` found it, which the table says by their number: the highest scores."""
        scores = [-math.inf if (score := self._score(a)) is None else score for a in ACTIONS]
        lowest = sorted(scores, reverse=True)[self.step["viable"] - 1] if self.step["viable"] else math.inf
        return [score >= max(lowest, 0.0) for score in scores]


def _drop_broken_rollouts(entries: Sequence[_Entry]) -> None:
    """With a critic a rollout counts whole or not at all: an estimate runs over all of its steps."""
    broken = {e.state[0] for e in entries if e.dropped_because}
    for entry in entries:
        if entry.state[0] in broken:
            entry.dropped_because = entry.dropped_because or "another step of its rollout is dropped"


def _check_signal(entries: Sequence[_Entry], settings: Train) -> None:
    if not any(e.advantage for e in entries if e.trained and not e.dropped_because):
        raise SparkError(
            f"train.{settings.name}: no step carries signal ({_dropped(entries)}); see min_score, the weights and group, "
            f"and `sparkctl train --audit`"
        )


def spreads(entries: Sequence[_Entry], settings: Train) -> dict[str, float]:
    """Standard deviation of each reward term over the trained actions, after the baseline of its group: what it can teach.
    A critic's baseline is not known before training, so there it is the term's own; of imitation there is none."""
    valued = [e for e in entries if e.terms and not e.dropped_because]
    found = {}
    for term in rewards.NAMES if valued else ():
        group = _group_of(term, settings)
        compared = [e for e in valued if e.trained or group == "fork"]
        if term == "correctness":
            compared = [e for e in compared if e.knows_outcome]
        worth = [getattr(e.terms, term) or 0.0 for e in compared]
        labels = None if group == "none" else [_label(e, group) for e in compared]
        left = advantages.estimate(worth, labels, settings.baseline)
        found[term] = pstdev([a for e, a in zip(compared, left, strict=True) if e.trained] or [0.0])
    return found


def _group_of(term: str, settings: Train) -> Group:
    """What a term is compared with, beside the baseline of its own that rarity may have."""
    if term == "rarity" and _rarity_apart(settings):
        return "none"
    return settings.outcome_group if term == "correctness" and settings.combine == "sum" else settings.group


def inert(entries: Sequence[_Entry], settings: Train) -> list[str]:
    """A line for each term that has a weight and hardly differs among the trained actions."""
    return [
        f"{term} = {getattr(settings, term)} is not acting: after its baseline it differs by {spread:.3f} among the trained "
        f"actions (standard deviation; under {INERT}); raise it, or see `sparkctl train --audit`"
        for term, spread in spreads(entries, settings).items()
        if getattr(settings, term) and spread < INERT
    ]


def _dropped(entries: Sequence[_Entry]) -> str:
    counted = Counter(e.dropped_because for e in entries if e.dropped_because)
    listed = ", ".join(f"{n} {reason}" for reason, n in sorted(counted.items()))
    return f"{sum(e.trained for e in entries)} actions; dropped: {listed or 'none'}"


# ---- advantages ------------------------------------------------------------------------------------------------------


def _estimate(entries: Sequence[_Entry], settings: Train) -> None:
    """Write the advantages: what is known of all candidates within its group, and the outcome within its own."""
    paid = [(e, *_parts(e.terms, settings)) for e in entries if e.terms and not e.dropped_because]
    for entry, own, _, _ in paid:
        entry.advantage = own
    compared = [(e, local) for e, _, local, _ in paid if e.trained or settings.group == "fork"]
    _add_estimate(compared, settings.group, settings, settings.scale)
    if settings.combine == "product":
        # There is one reward then, and it has the group of quality and rarity.
        product = [(e, outcome) for e, _, _, outcome in paid if e.trained]
        _add_estimate(product, settings.group, settings, settings.scale)
    else:
        executed = [(e, outcome) for e, _, _, outcome in paid if e.trained and e.knows_outcome]
        _add_outcome(executed, settings)
    for entry, _, _, _ in paid:
        entry.advantage = advantages.nudge(entry.advantage, settings.nudge * entry.rarity, settings.nudge_cap)


def _parts(terms: rewards.Terms, settings: Train) -> tuple[float, float, float]:
    """(what has its baseline already, what `group` compares, what only the outcome adds)."""
    local, outcome = rewards.combined(terms, settings.combine)
    if not _rarity_apart(settings):
        return 0.0, local, outcome
    return terms.rarity, local - terms.rarity, outcome


def _rarity_apart(settings: Train) -> bool:
    """Whether rarity was compared with its state's candidates and is left out of `group`: a second baseline would punish
    every action of a state without a choice."""
    return settings.rarity_baseline == "viable" and settings.combine == "sum"


def _add_estimate(
    valued: Sequence[tuple[_Entry, float]], group: Group, settings: Train, scale: advantages.Scale
) -> None:
    labels = None if group == "none" else [_label(e, group) for e, _ in valued]
    estimated = _estimated([value for _, value in valued], labels, group, settings, scale)
    for (entry, _), advantage in zip(valued, estimated, strict=True):
        entry.advantage += advantage


def _add_outcome(executed: Sequence[tuple[_Entry, float]], settings: Train) -> None:
    """The outcome is the rollout's: each rollout is compared once, however long, and each of its steps gets the same."""
    once = {e.state[0]: (e.step["question_id"], outcome) for e, outcome in executed}
    group = settings.outcome_group
    labels = None if group == "none" else [question if group == "question" else None for question, _ in once.values()]
    outcomes = [outcome for _, outcome in once.values()]
    estimated = dict(zip(once, _estimated(outcomes, labels, group, settings, settings.scale), strict=True))
    for entry, _ in executed:
        entry.advantage += estimated[entry.state[0]]


def _estimated(
    values: Sequence[float], labels: Sequence[Hashable] | None, group: Group, settings: Train, scale: advantages.Scale
) -> list[float]:
    if group == "question" and labels and len(labels) == len(set(labels)):
        raise SparkError(
            f'train.{settings.name}: group "question" compares the rollouts of a question, and each has one; '
            f"set synth.samples to 2 or more, or another group"
        )
    return advantages.estimate(values, labels, settings.baseline, scale)


def _label(entry: _Entry, group: Group) -> Hashable:
    # Quality and rarity differ by step: of a question the rollouts are compared at equal depth.
    question = (entry.step["question_id"], entry.step["step_idx"])
    return {"fork": entry.state, "question": question, "batch": None}[group]


def _estimate_over_steps(entries: Sequence[_Entry], settings: Train) -> None:
    """Write the advantages of the first update, when the critic expects nothing yet: discounted sums of rewards."""
    of: dict[str, list[_Entry]] = {}
    for entry in sorted((e for e in entries if e.terms), key=lambda e: e.state[1]):
        of.setdefault(entry.state[0], []).append(entry)
    for steps in of.values():
        parts = [_parts_of_step(e, settings) for e in steps]
        estimates = advantages.gae([earned for _, earned in parts], [0.0] * len(parts), settings.gamma, settings.lam)
        for entry, (own, _), estimate in zip(steps, parts, estimates, strict=True):
            entry.advantage = own + estimate


def _parts_of_step(entry: _Entry, settings: Train) -> tuple[float, float]:
    """(what has its baseline already, what the step earns by itself); the outcome is paid at the rollout's end, and the
    estimate carries it back. Rarity among the viable is not carried back: a rollout would earn by being long."""
    assert entry.terms is not None
    own, local, outcome = _parts(entry.terms, settings)
    return own, local + (outcome if entry.step["done"] else 0.0)


STAGE = Stage(
    "train",
    4,
    Train,
    run,
    "train a LoRA adapter on the judged steps",
    ("questions", "candidates", "scores", "steps", "reference"),
    (),
    ("adapter", "updates", "credit"),
)
