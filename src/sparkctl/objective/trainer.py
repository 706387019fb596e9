"""The training loop: LoRA on a frozen model, one optimiser update per batch of steps.

Old and reference log-probs are those of the frozen start: the same model with the adapter switched off, so no second
copy is held. Dropout is off throughout; the ratio is therefore exactly 1 until the first update.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from sparkctl.errors import SparkError
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
            if not torch.isfinite(norm):
                raise SparkError(
                    f"train.{settings.name}: the gradient of update {number} is not finite; lower train.lr"
                )
            rate = schedule.get_last_lr()[0]
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            rows.append({"update": number, "epoch": epoch, "grad_norm": float(norm), "lr": rate} | row)
            advance(1)
    _save(model, folder, settings.policy)
    return rows


def _save(model: Any, folder: Path, policy: str) -> None:
    """A peft folder whose bytes do not depend on where or in which process it was made."""
    model.save_pretrained(folder)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text()) | {"base_model_name_or_path": policy}
    config["target_modules"] = sorted(config["target_modules"])  # peft keeps a set, in the order of Python's hash seed
    path.write_text(json.dumps(config, indent=2, sort_keys=True))
    (folder / "README.md").unlink(missing_ok=True)


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
    """(step,): the loss of each step, and its metrics, detached. SFT has no old policy, and its drift is not measured."""
    logits = _logits(model, batch)
    logprobs = _picked(logits, batch)
    metrics = {"entropy": losses.entropy(logits.detach(), batch.mask)}
    if settings.objective == "sft":
        loss = losses.nll(logprobs, batch.mask)
        return loss, metrics | {"policy_loss": loss.detach()}
    with torch.no_grad(), model.disable_adapter():
        start = _logits(model, batch)
    ratios = losses.ratio(logprobs, _picked(start, batch), batch.mask, settings.ratio)
    loss = losses.clipped(ratios, batch.advantage, batch.mask, settings.clip)
    drift = losses.kl(logits, start, batch.mask)
    metrics |= {"policy_loss": loss.detach(), "approx_kl": drift.detach()}
    metrics["clip_frac"] = losses.clip_frac(ratios.detach(), batch.mask, settings.clip)
    return loss + settings.kl * drift, metrics


def _logits(model: Any, batch: Batch) -> torch.Tensor:
    """(step, token, vocabulary): logits that predict the targets; no other place goes through the model's head."""
    kept = batch.targets.shape[1] + 1
    out = model(input_ids=batch.ids, attention_mask=batch.attention, position_ids=batch.positions, logits_to_keep=kept)
    return out.logits[:, :-1].float()


def _picked(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(step, token): log-probs of the targets."""
    return logits.log_softmax(-1).gather(2, batch.targets[:, :, None])[:, :, 0]


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
