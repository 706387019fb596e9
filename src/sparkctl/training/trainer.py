"""The training loop: LoRA on a frozen model, one optimiser update per batch of rollouts.

Old and reference log-probs are those of the frozen start and come with the actions: computed once, so that no second
model is held. Dropout is off throughout; the ratio is therefore 1 until the first update.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sparkctl.errors import SparkError
from sparkctl.training import checkpoints, critic, forward, lora, packing_check, schedule
from sparkctl.training.adapters import write_base
from sparkctl.training.guards import Guards
from sparkctl.training.objective import objective
from sparkctl.training.packing import Batch, Packing, micro_batches
from sparkctl.training.processes import Ranks
from sparkctl.training.trees import Tree

_NAMED = 5
"""Rollouts of a faulty batch that are named."""

_REWARD = ("weighed_reward", "weight")
"""Sums whose quotient is the mean reward under the current policy; SFT has none."""

Row = dict[str, Any]
"""A row of the updates table."""


@dataclass(frozen=True)
class Job:
    """What is to be trained, and where its files go."""

    trees: Sequence[Tree]
    settings: Any
    """As the train stage has them."""
    folder: Path
    """Of the adapter."""
    checkpoint: Path | None = None
    """Folder that survives a kill; None: no checkpoints."""
    events: Path | None = None
    """Folder of TensorBoard's event files; None: none are written."""
    base: Mapping[str, str] | None = None
    """What is said beside the adapter of the model it belongs to."""


@contextmanager
def _silent(label: str, total: int) -> Any:
    yield lambda n, note="": None


def fit(
    model: Any,
    job: Job,
    *,
    progress: Callable[[str, int], Any] = _silent,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Train the adapters and save them to `job.folder`; one row of the updates table per update.

    `progress(label, total)` is a context giving `advance(n, note)`; `tell` is given warnings, one line each. Raises
    SparkError where a loss or gradient is not finite.
    """
    return _Training(model, job, tell).run(progress)


@dataclass
class _Training:
    """A training under way."""

    plain: Any
    job: Job
    tell: Callable[[str], None]
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = self.settings = self.job.settings
        self.label = f"train.{settings.name}"
        self.ranks = Ranks(self.plain.device.type)
        if self.ranks.processes != settings.processes:
            raise SparkError(
                f"{self.label}: {self.ranks.processes} processes train together, and train.processes says {settings.processes}"
            )
        if self.job.events is not None:
            _summary_writer()  # every process looks, so that all of them stop together
        torch.manual_seed(settings.seed)
        self.model = lora.with_lora(self.plain, settings)
        self.head = self._value_head()
        # Dropout is off in every mode. In eval mode gradient checkpointing would be off, and bitsandbytes would switch to
        # kernels without a gradient on some CPUs.
        self.model.train()
        if settings.gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.actor = lora.weights_of(self.model, lora.ACTOR)
        self.critic = lora.weights_of(self.model, lora.CRITIC) + (list(self.head.parameters()) if self.head else [])
        groups = [{"params": self.actor, "lr": settings.lr}]
        groups += [{"params": self.critic, "lr": settings.critic_lr}] if self.head else []
        self.optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
        self.plan = schedule.updates(self.job.trees, settings.epochs, settings.batch_size, settings.seed)
        self.guards = Guards(self.label, settings.warn_kl, settings.warn_collapse)
        self.packing: Packing = settings.packing

    def _value_head(self) -> critic.ValueHead | None:
        if self.settings.critic != "value":
            return None
        width = self.plain.get_output_embeddings().weight.shape[1]  # where a model narrows its output: as narrow
        return critic.ValueHead(width).to(self.plain.device)

    # ---- the loop ----------------------------------------------------------------------------------------------------

    def run(self, progress: Callable[[str, int], Any]) -> list[Row]:
        self._resume()
        self._check_packing()
        begun = len(self.rows)
        shown = progress if self.ranks.first else _silent
        with shown(self.label.replace(".", " "), len(self.plan) - begun) as advance, self._events() as events:
            for number, (epoch, trees) in enumerate(self.plan[begun:], begun + 1):
                row = self._update(number, epoch, trees)
                self.rows.append(row)
                for line in self._warnings(row, _states(trees)):
                    self.tell(line)
                events(row)
                advance(1, _note(row))
                if number % self.settings.checkpoint_every == 0 and number < len(self.plan):
                    self._checkpoint()
        self._save(self.job.folder)
        return self.rows

    def _save(self, folder: Path) -> None:
        if self.ranks.first:
            lora.save(self.model, self.head, folder, self.settings.policy)
            if self.job.base is not None:
                write_base(folder, self.job.base)

    def _warnings(self, row: Row, states: int) -> list[str]:
        # Imitation moves as far as the data asks: only an objective with a trust region can leave it.
        return self.guards.look(row, states) if self.ranks.first and self.settings.objective != "sft" else []

    def _update(self, number: int, epoch: int, trees: Sequence[Tree]) -> Row:
        share = schedule.share_of_rate(number - 1, len(self.plan), self.settings.warmup)
        for group, rate in zip(self.optimiser.param_groups, (self.settings.lr, self.settings.critic_lr), strict=False):
            group["lr"] = rate * share
        self.optimiser.zero_grad()
        row = self.accumulate(trees)
        norms = [self._clipped_norm(weights) for weights in (self.actor, self.critic) if weights]
        if not all(torch.isfinite(norm) for norm in norms):
            self._stop(number, trees)
        self.optimiser.step()
        return {"update": number, "epoch": epoch, "grad_norm": float(norms[0]), "lr": self.settings.lr * share} | row

    def _clipped_norm(self, weights: Sequence[torch.nn.Parameter]) -> torch.Tensor:
        return torch.nn.utils.clip_grad_norm_(weights, self.settings.max_grad_norm)

    def accumulate(self, trees: Sequence[Tree]) -> Row:
        """Add the gradient of the mean loss over the states, in as many forward passes as fit; the update's figures."""
        states = _states(trees)
        parts = micro_batches(trees, self.settings.micro_batch_tokens, self.packing, whole=self._looks_across_steps)
        sums: dict[str, float] = dict.fromkeys(self._figures, 0.0)
        tools: list[torch.Tensor] = []
        fitted: list[tuple[torch.Tensor, torch.Tensor]] = []
        for part in self.ranks.mine(parts):
            batch = forward.packed(self.model, part, self.packing)
            advantage = self._fit_critic(batch, states, fitted)
            scored = forward.score(self.model, batch)
            loss, metrics = objective(scored.logprobs, batch, advantage, self.settings)
            ((loss * batch.share).sum() / states).backward()
            metrics["entropy"] = (scored.entropy * batch.mask).sum(1) / batch.mask.sum(1)
            for name, values in metrics.items():
                sums[name] += float((values * batch.share).sum()) / states
            if scored.tools is not None:
                tools.append(scored.tools.cpu())
        self.ranks.sum_gradients(self.actor + self.critic)
        row: Row = _with_reward(self.ranks.sum_figures(sums, self.model.device))
        row |= self._tool_figures(self.ranks.gathered(tools)) | self._critic_figures(self.ranks.gathered(fitted))
        return row | {"tokens": sum(len(action.ids) for tree in trees for action in tree.actions)}

    @property
    def _looks_across_steps(self) -> bool:
        return self.settings.critic == "value" or self.settings.ratio == "sequence"

    @property
    def _figures(self) -> list[str]:
        more = {"sft": [], "ppo": ["clip_frac", *_REWARD], "expected": [*_REWARD]}
        return ["policy_loss", "approx_kl", "entropy", *more[self.settings.objective]]

    def _fit_critic(self, batch: Batch, states: int, fitted: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """(action,): the advantages; with a critic, its estimates are added to them, after the gradient of its loss."""
        if self.head is None:
            return batch.advantage
        # Backward within: gradient checkpointing computes again, and must then find the same adapter at work.
        with lora.acting(self.model, lora.CRITIC):
            values = critic.values(self.model, self.head, batch)
            advantage, returns = critic.advantages(batch, values, self.settings)
            (0.5 * (values - returns).square().sum() / states).backward()
        fitted.append((values.detach().cpu(), returns.cpu()))
        return batch.advantage + advantage

    def _tool_figures(self, tools: Sequence[torch.Tensor]) -> Row:
        if not tools:
            return {}
        overall, within = forward.tool_entropy(torch.cat(list(tools)))
        return {"tool_entropy": overall, "tool_entropy_within": within}

    def _critic_figures(self, fitted: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Row:
        if not fitted:
            return {}
        values, returns = (torch.cat(parts) for parts in zip(*fitted, strict=True))
        loss = 0.5 * float((values - returns).square().mean())
        return {"value_loss": loss, "explained_variance": critic.explained_variance(values, returns)}

    # ---- checks, stops, checkpoints ----------------------------------------------------------------------------------

    def _check_packing(self) -> None:
        """Fall back to rows where trees say something else; all processes alike, or their shares would not add up."""
        if self.packing != "tree" or self.rows:
            return
        apart, why = packing_check.difference(self.model, self.job.trees)
        fine = self.ranks.gathered([packing_check.tolerated(self.model, apart)])
        if not all(fine):
            self.packing = "rows"
            if self.ranks.first:
                self.tell(
                    packing_check.refusal(self.label, why if not fine[0] else "another process found a difference")
                )

    def _stop(self, number: int, trees: Sequence[Tree]) -> None:
        names = [tree.rollout_id for tree in trees]
        shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        kept = ""
        if self.job.checkpoint is not None:
            good = self.job.checkpoint / checkpoints.LAST_GOOD
            self._save(good)
            kept = f"; the adapter before it is kept in {good}"
        raise SparkError(
            f"{self.label}: the gradient of update {number} is not finite (rollouts {shown}); lower train.lr{kept}"
        )

    def _trained(self) -> dict[str, torch.Tensor]:
        state = {name: p.detach() for name, p in self.model.named_parameters() if "lora_" in name}
        return state | ({f"head.{name}": p for name, p in self.head.state_dict().items()} if self.head else {})

    def _checkpoint(self) -> None:
        if self.job.checkpoint is not None and self.ranks.first:
            state = {"rows": self.rows, "weights": self._trained(), "optimiser": self.optimiser.state_dict()}
            checkpoints.write(self.job.checkpoint, state | {"packing": self.packing})

    def _resume(self) -> None:
        state = checkpoints.read(self.job.checkpoint) if self.job.checkpoint else None
        if state is None:
            return
        self.rows, self.packing = list(state["rows"]), state["packing"]
        with torch.no_grad():
            for name, weight in self._trained().items():
                weight.copy_(state["weights"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        for row, (_, trees) in zip(self.rows, self.plan, strict=False):
            self.guards.look(row, _states(trees))
        if self.ranks.first:
            self.tell(f"{self.label}: going on after update {len(self.rows)} of {len(self.plan)}")

    def _events(self) -> Any:
        """A context giving what writes a row to TensorBoard's event files."""
        if self.job.events is None or not self.ranks.first:
            return nullcontext(lambda row: None)
        return _tensorboard(self.job.events, len(self.rows))


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise SparkError(
            "train.tensorboard: needs the package tensorboard; pip install 'sparkctl[tensorboard]'"
        ) from None
    return SummaryWriter


@contextmanager
def _tensorboard(folder: Path, done: int) -> Any:
    """A context giving what writes a row; what an earlier training left there beyond `done` updates is dropped."""
    if not done:
        shutil.rmtree(folder, ignore_errors=True)
    with _summary_writer()(str(folder), purge_step=done + 1 if done else None) as writer:

        def write(row: Row) -> None:
            for name, value in row.items():
                if name not in ("update", "epoch") and value is not None:
                    writer.add_scalar(f"train/{name}", value, row["update"])

        yield write


def _states(trees: Sequence[Tree]) -> int:
    return sum(len(tree.forks) for tree in trees)


def _with_reward(sums: dict[str, float]) -> Row:
    """The figures with the quotient in place of the two sums: of the whole update, over all its forward passes and
    processes; a mean of their quotients would be another number."""
    row: Row = {name: value for name, value in sums.items() if name not in _REWARD}
    return row | ({"reward": sums["weighed_reward"] / sums["weight"]} if "weight" in sums else {})


def _note(row: Row) -> str:
    """The figures worth watching, in a few words."""
    parts = [f"loss {row['policy_loss']:.3f}", f"kl {row['approx_kl']:.4f}"]
    if "clip_frac" in row:
        parts.append(f"clip {100 * row['clip_frac']:.0f} %")
    if "tool_entropy" in row:
        parts.append(f"tools {row['tool_entropy']:.2f} bits")
    return ", ".join(parts)
