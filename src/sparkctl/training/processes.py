"""Data parallel training: every process holds the frozen model and takes its share of each update's forward passes.

Only the adapters have gradients, a few megabytes: they are summed once per update, through accelerate.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch

T = TypeVar("T")


class Ranks:
    """The processes of this training; alone where none were launched beside it."""

    def __init__(self, device: str) -> None:
        from accelerate import PartialState

        self._state = PartialState(cpu=device == "cpu")
        self.first: bool = self._state.is_main_process
        self.processes: int = self._state.num_processes
        self.device: str = str(self._state.device)

    def mine(self, parts: Sequence[T]) -> list[T]:
        """This process's share of the work."""
        return list(parts[self._state.process_index :: self.processes])

    def sum_gradients(self, weights: Sequence[torch.nn.Parameter]) -> None:
        """Add up the gradients over all processes, in place."""
        if self.processes == 1:
            return
        parts = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        summed = self._sum(torch.cat([p.flatten() for p in parts]))
        for weight, part in zip(weights, summed.split([w.numel() for w in weights]), strict=True):
            weight.grad = part.view_as(weight).clone()

    def sum_figures(self, figures: dict[str, float], device: Any) -> dict[str, float]:
        """Add up named figures over all processes; every process must give the same names."""
        if self.processes == 1:
            return figures
        names = sorted(figures)
        # float32: accelerators without float64 exist, and the figures are for reading.
        summed = self._sum(torch.tensor([figures[name] for name in names], dtype=torch.float32, device=device))
        return dict(zip(names, summed.tolist(), strict=True))

    def gathered(self, given: list[T]) -> list[T]:
        """The items of all processes, in the order of the processes."""
        from accelerate.utils import gather_object

        return given if self.processes == 1 else list(gather_object(given))

    def wait(self) -> None:
        """Until all processes are here."""
        self._state.wait_for_everyone()

    @staticmethod
    def _sum(values: torch.Tensor) -> torch.Tensor:
        from accelerate.utils import reduce

        made: torch.Tensor = reduce(values, reduction="sum")
        return made
