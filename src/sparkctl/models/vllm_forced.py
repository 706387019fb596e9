"""Continuations that begin with given tokens, inside vLLM: they are decoded like sampled ones, whatever their probability.

Why not a longer prompt: vLLM gives log-probs of prompt tokens only where it does not use its prefix cache, and the
cache is what makes nine candidates of one state cheap. Log-probs are taken before this, so they are the model's own.
vLLM loads this module in its worker processes.
"""

from typing import Any

import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

KEY = "forced"
"""Of `SamplingParams.extra_args`: the token ids."""


class ForcedPrefix(LogitsProcessor):
    """Leaves one token possible while a request's forced tokens last."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self.going: dict[int, tuple[list[int], list[int]]] = {}
        """Row of the batch -> (forced tokens, what is written so far; vLLM goes on filling it)."""

    def is_argmax_invariant(self) -> bool:
        """It decides the likeliest token."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the rows of the batch; forget those that are past their forced tokens."""
        process_dict_updates(self.going, batch_update, _joined)
        for row in [row for row, (forced, written) in self.going.items() if len(written) >= len(forced)]:
            del self.going[row]

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """(row, vocabulary), changed in place."""
        if self.going:
            rows = list(self.going)
            tokens = [forced[len(written)] for forced, written in self.going.values()]
            logits[rows] = -torch.inf
            logits[rows, tokens] = 0.0
        return logits


def _joined(params: SamplingParams, prompt: list[int] | None, written: list[int]) -> tuple[list[int], list[int]] | None:
    forced = (params.extra_args or {}).get(KEY)
    return (forced, written) if forced else None
