"""From a model and a batch to log-probs of the trained tokens. Nothing here knows what is trained for."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from sparkctl.training import losses
from sparkctl.training.packing import Batch, Packing, pack_rows, pack_tree
from sparkctl.training.trees import Tree


class Scored(NamedTuple):
    """What one forward pass says of a batch."""

    logprobs: torch.Tensor
    """(action, token): of the trained tokens; 0 where there is none."""
    entropy: torch.Tensor
    """(action, token): of the distribution each token was taken from, in nats; detached."""
    tools: torch.Tensor | None
    """(fork, name): probability of each tool; detached. None where the batch does not hold the names."""


def packed(model: Any, trees: Sequence[Tree], packing: Packing) -> Batch:
    """The rollouts as one batch for this model, on its device."""
    if packing == "rows":
        return pack_rows(trees).to(model.device)
    flex = getattr(model.config, "_attn_implementation", "") == "flex_attention"
    return pack_tree(trees, model.device if flex else None).to(model.device)


def score(model: Any, batch: Batch) -> Scored:
    """One forward pass; only the places that predict a trained token go through the language-model head."""
    table = _logits(model, batch).log_softmax(-1)  # (place, vocabulary)
    with torch.no_grad():
        entropy = losses.entropy(table)[batch.where]
        tools = _tools(table, batch)
    return Scored(table[batch.where, batch.targets] * batch.mask, entropy, tools)


def _logits(model: Any, batch: Batch) -> torch.Tensor:
    """(place, vocabulary), float32."""
    out = model(
        input_ids=batch.ids,
        attention_mask=batch.attention,
        position_ids=batch.positions,
        logits_to_keep=batch.keep,
        use_cache=False,
    )
    logits: torch.Tensor = out.logits.flatten(0, 1).float()
    return logits


def _tools(table: torch.Tensor, batch: Batch) -> torch.Tensor | None:
    """(fork, name): how likely the policy is to name each tool in this state, among the tools' names."""
    if batch.names is None or batch.name_targets is None:
        return None
    wanted = batch.name_targets >= 0
    picked = table[batch.names, batch.name_targets.clamp(min=0)] * wanted
    return picked.sum(-1).softmax(-1)


def tool_entropy(tools: torch.Tensor) -> tuple[float, float]:
    """(of the tools over all states, mean within a state) in bits; `tools` (fork, name) as `Scored` has them."""
    return float(_bits(tools.mean(0))), float(_bits(tools).mean())


def _bits(shares: torch.Tensor) -> torch.Tensor:
    return torch.special.entr(shares).sum(-1) / math.log(2)


def hidden(model: Any, batch: Batch) -> torch.Tensor:
    """(fork, width): the last layer's output where each state ends, what a critic reads."""
    decoder = model.get_base_model().get_decoder()
    out = decoder(
        input_ids=batch.ids, attention_mask=batch.attention, position_ids=batch.positions, use_cache=False
    ).last_hidden_state
    states: torch.Tensor = out.flatten(0, 1)[batch.states].float()
    return states
