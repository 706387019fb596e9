"""The critic: a second LoRA adapter on the same frozen model and a value head, as SPaRK's released model has it.

It reads a state where it ends, before the action is named, and says what the rest of the rollout will earn.
"""

from typing import Any

import torch

from sparkctl.training import forward
from sparkctl.training.advantages import gae
from sparkctl.training.packing import Batch


class ValueHead(torch.nn.Module):
    """Linear from the width of the model to one number; zero at the start, so that the first baseline is none."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(width, 1)
        torch.nn.init.zeros_(self.linear.weight)
        torch.nn.init.zeros_(self.linear.bias)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(fork,): values of the states (fork, width)."""
        value: torch.Tensor = self.linear(states)[:, 0]
        return value


def values(model: Any, head: ValueHead, batch: Batch) -> torch.Tensor:
    """(fork,): what the critic expects of each state; to be called, and its loss sent backward, while its adapter is
    the one at work (`lora.acting`)."""
    made: torch.Tensor = head(forward.hidden(model, batch))
    return made


def advantages(batch: Batch, values: torch.Tensor, settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(fork,), (fork,): generalised advantage estimates over the steps of each rollout, and the returns that the critic
    is fitted to (advantage + value). One action per fork, so that forks and actions are the same."""
    estimates: list[float] = []
    expected = values.detach()
    for rollout in range(int(batch.rollout.max()) + 1):
        of = batch.rollout == rollout
        estimates += gae(batch.reward[of].tolist(), expected[of].tolist(), settings.gamma, settings.lam)
    made = torch.tensor(estimates, device=values.device)
    return made, made + expected


def explained_variance(values: torch.Tensor, returns: torch.Tensor) -> float | None:
    """1 - Var(return - value) / Var(return): 1 perfect, 0 no better than a constant; None where all returns are equal."""
    spread = float(returns.var(correction=0))
    return None if spread == 0 else 1.0 - float((returns - values).var(correction=0)) / spread
