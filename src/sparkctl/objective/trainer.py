"""The training loop: LoRA on a frozen model, one optimiser update per batch of steps.

Old and reference log-probs are those of the frozen start: the same model with the adapter switched off, so no second
copy is held. Dropout is off throughout; the ratio is therefore exactly 1 until the first update.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from sparkctl.objective import losses
from sparkctl.objective.batches import Batch, Item, collate, epochs, micro_batches


def fit(
    model: Any, pad: int, items: Sequence[Item], settings: Any, folder: Path, progress: Callable[..., Any]
) -> list[dict[str, Any]]:
    """Train a LoRA adapter on the steps and save it to `folder`; one row of the updates table per update."""
    torch.manual_seed(settings.seed)
    model = _with_lora(model, settings)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=settings.lr, weight_decay=0.0)
    plan = list(epochs(items, settings.epochs, settings.batch_size, settings.seed))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: _share_of_rate(n, len(plan), settings.warmup))
    rows = []
    with progress(f"train {settings.name}", len(plan)) as advance:
        for number, (epoch, batch) in enumerate(plan, 1):
            row = accumulate(model, pad, batch, settings)
            norm = torch.nn.utils.clip_grad_norm_(weights, settings.max_grad_norm)
            rate = schedule.get_last_lr()[0]
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            rows.append({"update": number, "epoch": epoch, "grad_norm": float(norm), "lr": rate} | row)
            advance(1)
    model.save_pretrained(folder)
    return rows


def accumulate(model: Any, pad: int, items: Sequence[Item], settings: Any) -> dict[str, Any]:
    """Add the gradient of the mean loss over the steps, in as many forward passes as fit; the update's metrics."""
    totals: dict[str, float] = {}
    for part in micro_batches(items, settings.micro_batch_tokens):
        batch = collate(part, pad, model.device)
        loss, metrics = step_losses(model, batch, settings)
        (loss.sum() / len(items)).backward()
        for name, values in metrics.items():
            totals[name] = totals.get(name, 0.0) + float(values.sum()) / len(items)
    return totals | {"tokens": sum(len(i.action_ids) for i in items)}


def step_losses(model: Any, batch: Batch, settings: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(step,): the loss of each step, and its metrics, detached."""
    logits = _logits(model, batch)
    logprobs = logits.log_softmax(-1).gather(2, batch.targets[:, :, None])[:, :, 0]
    with torch.no_grad(), model.disable_adapter():
        start = _logits(model, batch)
        old = start.log_softmax(-1).gather(2, batch.targets[:, :, None])[:, :, 0]
    drift = losses.kl(logits, start, batch.mask)
    metrics = {"approx_kl": drift, "entropy": losses.entropy(logits, batch.mask)}
    if settings.objective == "sft":
        loss = losses.nll(logprobs, batch.mask)
        return loss, {k: v.detach() for k, v in (metrics | {"policy_loss": loss}).items()}
    ratios = losses.ratio(logprobs, old, batch.mask, settings.ratio)
    loss = losses.clipped(ratios, batch.advantage, batch.mask, settings.clip)
    metrics |= {"policy_loss": loss, "clip_frac": losses.clip_frac(ratios, batch.mask, settings.clip)}
    return loss + settings.kl * drift, {k: v.detach() for k, v in metrics.items()}


def _logits(model: Any, batch: Batch) -> torch.Tensor:
    """(step, token, vocabulary): logits at the places that predict trained tokens."""
    logits = model(input_ids=batch.ids, attention_mask=batch.attention).logits.float()
    return logits[torch.arange(len(logits), device=logits.device)[:, None], batch.places]


def _with_lora(model: Any, settings: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    targets = settings.lora_targets if isinstance(settings.lora_targets, str) else list(settings.lora_targets)
    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=0.0,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _share_of_rate(update: int, updates: int, warmup: float) -> float:
    rising = max(1, round(warmup * updates))
    return (update + 1) / rising if update < rising else (updates - update) / max(1, updates - rising)
