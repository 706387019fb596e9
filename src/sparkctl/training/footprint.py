"""What a training will take, before any weight is read: parameters, tokens, updates, memory."""

from collections.abc import Sequence
from typing import Any

import torch

from sparkctl.training import lora, schedule
from sparkctl.training.trees import Tree

_NF4_BITS = 4.127
"""Bits per weight with double quantisation (QLoRA, arXiv 2305.14314, section 3)."""
_ADAM_BYTES = 16
"""Per trained weight: float32 weight, gradient and Adam's two moments."""
_LOGIT_COPIES = 4
"""Of the kept places' logits: as the model gives them, in float32, as log-probs, and their gradient."""


def footprint(config: Any, trees: Sequence[Tree], settings: Any) -> dict[str, Any]:
    """Figures of a training of these rollouts with these settings; `config` as transformers has it. No rollouts: what
    depends on them is None. Memory in bytes, an estimate: kernels' own buffers and fragmentation come on top."""
    plain = _outline(config, settings)
    frozen = dict(plain.named_parameters())
    total = sum(p.numel() for p in frozen.values())
    weights = sum(_bytes(name, p, plain, settings) for name, p in frozen.items())
    model = lora.with_lora(plain, settings)
    trainable = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    found = _of_rollouts(trees, settings)
    memory = _memory(config.get_text_config(), weights, trainable, found, settings)
    return (
        {"parameters": total, "trainable": trainable, "trainable_share": trainable / total} | found | {"memory": memory}
    )


def _outline(config: Any, settings: Any) -> Any:
    """The model without its weights."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, settings.dtype))


def _bytes(name: str, weight: torch.nn.Parameter, model: Any, settings: Any) -> float:
    # bitsandbytes leaves the embeddings, the head and the norms as they are.
    quantised = settings.quantise == "nf4" and weight.ndim == 2 and "embed" not in name and "lm_head" not in name
    return weight.numel() * (_NF4_BITS / 8 if quantised else weight.element_size())


def _of_rollouts(trees: Sequence[Tree], settings: Any) -> dict[str, Any]:
    names = ("rollouts", "actions", "trained_tokens", "tokens_per_epoch", "row_tokens_per_epoch", "updates")
    if not trees:
        return dict.fromkeys(names)
    actions = [action for tree in trees for action in tree.actions]
    rows, packed = sum(tree.row_tokens for tree in trees), sum(len(tree.layout.ids) for tree in trees)
    updates = len(schedule.updates(trees, settings.epochs, settings.batch_size, settings.seed))
    trained = sum(len(action.ids) for action in actions)
    through = packed if settings.packing == "tree" else rows
    return dict(zip(names, (len(trees), len(actions), trained, through, rows, updates), strict=True))


def _memory(config: Any, weights: float, trainable: int, found: dict[str, Any], settings: Any) -> dict[str, int]:
    size = torch.finfo(getattr(torch, settings.dtype)).bits // 8
    tokens, hidden = settings.micro_batch_tokens, config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    # Kept for the backward pass, per token and layer: about eight tensors of the model's width and four of the MLP's,
    # and where the model is not in float32 the inputs of the seven adapted layers in float32.
    layer = size * (8 * hidden + 4 * inner) + (4 * (6 * hidden + inner) if size < 4 else 0)
    if settings.gradient_checkpointing:
        activations = tokens * (config.num_hidden_layers * hidden * size + layer)
    else:
        activations = tokens * config.num_hidden_layers * layer
    share = found["trained_tokens"] / found["tokens_per_epoch"] if found["trained_tokens"] else 0.5
    logits = min(share, 1.0) * tokens * config.vocab_size * 4 * _LOGIT_COPIES
    parts = {"weights": weights, "adapters": trainable * _ADAM_BYTES, "activations": activations, "logits": logits}
    made = {name: int(value) for name, value in parts.items()}
    return made | {"all": sum(made.values())}
