"""The adapters: what is trained on a frozen model, and their files."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sparkctl.errors import SparkError

ACTOR, CRITIC = "default", "critic"
"""Names of the adapters in the model; `default` is the one that peft saves at the folder's top."""
VALUE_HEAD = "value_head.pt"


def with_lora(model: Any, settings: Any) -> Any:
    """The frozen model with a fresh LoRA adapter for the actor, and a second one for the critic where there is one.

    B is zero at the start, so that the policy begins as the frozen model itself (LoRA, arXiv 2106.09685, section 4.1).
    """
    from peft import LoraConfig, get_peft_model

    targets = settings.lora_targets if isinstance(settings.lora_targets, str) else list(settings.lora_targets)
    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=0.0,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    try:
        made = get_peft_model(_without_dropout(model), config, adapter_name=ACTOR)
    except (ValueError, TypeError, RuntimeError) as fault:
        first = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise SparkError(f"train.lora_targets: {settings.lora_targets!r} does not fit this model ({first})") from None
    if settings.critic == "value":
        made.add_adapter(CRITIC, config)
    return made


def _without_dropout(model: Any) -> Any:
    """Dropout off in every mode of the model: the ratio must be 1 where nothing has been learnt. Some models keep it in
    modules, others as numbers named for it that they hand to functions."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if _drops(name) and isinstance(value, float):
                setattr(module, name, 0.0)
    for name, value in vars(model.config).items():
        if _drops(name) and isinstance(value, float):
            setattr(model.config, name, 0.0)
    return model


def _drops(name: str) -> bool:
    return "dropout" in name or "layerdrop" in name or name.endswith("_pdrop")


def weights_of(model: Any, adapter: str) -> list[torch.nn.Parameter]:
    """The parameters of one adapter, in the model's order."""
    return [p for name, p in model.named_parameters() if f".{adapter}." in f"{name}."]


@contextmanager
def acting(model: Any, adapter: str) -> Iterator[None]:
    """Inside, the model computes with this adapter."""
    model.set_adapter(adapter)
    try:
        yield
    finally:
        model.set_adapter(ACTOR)


def save(model: Any, value_head: torch.nn.Module | None, folder: Path, policy: str) -> None:
    """The actor as a peft folder; the critic's adapter in `critic/` beside it, with its value head. The bytes do not
    depend on where or in which process they were made."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [ACTOR] if value_head is None else [ACTOR, CRITIC]
    model.save_pretrained(folder, selected_adapters=chosen)
    (folder / "README.md").unlink(missing_ok=True)
    for place in [folder] if value_head is None else [folder, folder / CRITIC]:
        path = place / "adapter_config.json"
        config = json.loads(path.read_text()) | {"base_model_name_or_path": policy}
        config["target_modules"] = sorted(config["target_modules"])  # a set in peft, in the order of Python's hash seed
        path.write_text(json.dumps(config, indent=2, sort_keys=True))
    if value_head is not None:
        torch.save(value_head.state_dict(), folder / CRITIC / VALUE_HEAD)
