"""Credit: which actions are trained on, with which reward and advantage, and why others are dropped."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import pstdev
from typing import Any

import pyarrow as pa

from sparkctl.errors import SparkError
from sparkctl.method import rollouts, tables
from sparkctl.method.episode import ACTIONS
from sparkctl.method.ports import Inputs
from sparkctl.training import advantages, rewards, tokens
from sparkctl.training.settings import Group, Train
from sparkctl.training.trees import distinguishing

INERT = 0.05
"""A term whose spread over the trained actions, after its baseline, is below this is not acting: half a point of the
judge. Issue 11."""


_Start = tuple[list[float] | None, int | None]
"""Log-probs of an action's tokens under the frozen start, and how many tokens stood before them."""


@dataclass
class Entry:
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


def credit_table(entries: Sequence[Entry]) -> pa.Table:
    """The credit table: what is trained on, and what is dropped."""
    return tables.from_rows("credit", [e.credit() for e in entries if e.trained or e.dropped_because])


def credited(inputs: Inputs, settings: Train, reader: tokens.Reader) -> list[Entry]:
    """Every executed step's actions with their advantage, in the order of the steps table, or why they are dropped."""
    found = {(s.rollout_id, s.step_idx): s for s in tokens.states(inputs, reader, settings.policy)}
    given = rollouts.mean_scores(inputs["scores"])
    # Without the reference there is no training, but an audit.
    started = _started(inputs["reference"]) if "reference" in inputs else None
    outcomes = {name: rows[-1]["is_correct"] for name, rows in rollouts.by_rollout(inputs["steps"]).items()}
    names = _Names.of(found.values(), reader) if _reads_names(settings) else None
    entries: list[Entry] = []
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

    def entries(self, settings: Train) -> list[Entry]:
        wanted = self._wanted(settings.action)
        if not wanted:
            return [Entry(self.step, None, self.step["error"] or "no candidate has a score")]
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

    def _entry(self, action: str, settings: Train, trained: bool = True) -> Entry:
        key = (self.step["rollout_id"], self.step["step_idx"], action)
        if self.state is None or action not in self.state.candidates:
            raise SparkError(
                f"candidates: no row for {key[0]}, step {key[1]}, {action}; give the table of the same run"
            )
        candidate, score = self.state.candidates[action], self._score(action)
        if candidate.error is not None:
            return Entry(self.step, action, candidate.error)
        if candidate.cut and settings.truncated == "drop":
            return Entry(self.step, action, "cut at its token limit")
        if score is None:
            return Entry(self.step, action, "not judged")
        if trained and score < settings.min_score:
            return Entry(self.step, action, "score below min_score")
        start = self._start(action, len(candidate.ids))
        correct = self.correct if action == self.step["tool_name"] else None
        weights = rewards.Weights(settings.quality, settings.rarity, settings.correctness)
        if correct is None and action == self.step["tool_name"] and settings.pays_by_outcome:
            return Entry(self.step, action, "the outcome of its rollout is not known")
        rare = self._rarities(settings)[ACTIONS.index(action)]
        terms = rewards.terms(score, rare, correct, weights)
        reward = sum(rewards.combined(terms, settings.combine))
        tokens = self.state.prompt_ids, candidate.ids, start
        return Entry(self.step, action, None, *tokens, terms, reward, rare, trained=trained)

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


def _drop_broken_rollouts(entries: Sequence[Entry]) -> None:
    """With a critic a rollout counts whole or not at all: an estimate runs over all of its steps."""
    broken = {e.state[0] for e in entries if e.dropped_because}
    for entry in entries:
        if entry.state[0] in broken:
            entry.dropped_because = entry.dropped_because or "another step of its rollout is dropped"


def check_signal(entries: Sequence[Entry], settings: Train) -> None:
    if not any(e.advantage for e in entries if e.trained and not e.dropped_because):
        raise SparkError(
            f"train.{settings.name}: no step carries signal ({_dropped(entries)}); see min_score, the weights and group, "
            f"and `sparkctl train --audit`"
        )


def spreads(entries: Sequence[Entry], settings: Train) -> dict[str, float]:
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


def inert(entries: Sequence[Entry], settings: Train) -> list[str]:
    """A line for each term that has a weight and hardly differs among the trained actions."""
    return [
        f"{term} = {getattr(settings, term)} is not acting: after its baseline it differs by {spread:.3f} among the trained "
        f"actions (standard deviation; under {INERT}); raise it, or see `sparkctl train --audit`"
        for term, spread in spreads(entries, settings).items()
        if getattr(settings, term) and spread < INERT
    ]


def _dropped(entries: Sequence[Entry]) -> str:
    counted = Counter(e.dropped_because for e in entries if e.dropped_because)
    listed = ", ".join(f"{n} {reason}" for reason, n in sorted(counted.items()))
    return f"{sum(e.trained for e in entries)} actions; dropped: {listed or 'none'}"


def _estimate(entries: Sequence[Entry], settings: Train) -> None:
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
    valued: Sequence[tuple[Entry, float]], group: Group, settings: Train, scale: advantages.Scale
) -> None:
    labels = None if group == "none" else [_label(e, group) for e, _ in valued]
    estimated = _estimated([value for _, value in valued], labels, group, settings, scale)
    for (entry, _), advantage in zip(valued, estimated, strict=True):
        entry.advantage += advantage


def _add_outcome(executed: Sequence[tuple[Entry, float]], settings: Train) -> None:
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


def _label(entry: Entry, group: Group) -> Hashable:
    # Quality and rarity differ by step: of a question the rollouts are compared at equal depth.
    question = (entry.step["question_id"], entry.step["step_idx"])
    return {"fork": entry.state, "question": question, "batch": None}[group]


def _estimate_over_steps(entries: Sequence[Entry], settings: Train) -> None:
    """Write the advantages of the first update, when the critic expects nothing yet: discounted sums of rewards."""
    of: dict[str, list[Entry]] = {}
    for entry in sorted((e for e in entries if e.terms), key=lambda e: e.state[1]):
        of.setdefault(entry.state[0], []).append(entry)
    for steps in of.values():
        parts = [parts_of_step(e, settings) for e in steps]
        estimates = advantages.gae([earned for _, earned in parts], [0.0] * len(parts), settings.gamma, settings.lam)
        for entry, (own, _), estimate in zip(steps, parts, estimates, strict=True):
            entry.advantage = own + estimate


def parts_of_step(entry: Entry, settings: Train) -> tuple[float, float]:
    """(what has its baseline already, what the step earns by itself); the outcome is paid at the rollout's end, and the
    estimate carries it back. Rarity among the viable is not carried back: a rollout would earn by being long."""
    assert entry.terms is not None
    own, local, outcome = _parts(entry.terms, settings)
    return own, local + (outcome if entry.step["done"] else 0.0)
