"""Whether an adapter's weights are numbers, and those that its configuration lays over a model: found from its files.

peft warns of weights that are missing and is silent about those that have no place, vLLM says of neither: what is then
evaluated is the base, in part or whole, under the adapter's name.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from sparkctl.errors import SparkError, first_line
from sparkctl.models import loading

_NAMED = 2
"""Weights that an error names of each kind: enough to see whether another prefix or another model is the cause."""

Shapes = dict[str, tuple[int, ...]]


def check(folder: Path, policy: str) -> None:
    """Refuse, in one line that names the first of them, weights that are missing, have no place or another shape, and such
    as are no finite numbers: a policy with one of these writes the same token for ever, and nothing says why."""
    found, wanted = _found(folder), _wanted(folder, policy)
    faults = [
        _fault("missing", wanted.keys() - found.keys()),
        _fault("without a place in it", found.keys() - wanted.keys() - {name for name in found if _is_base(name)}),
        _fault("of another shape", {name for name in found.keys() & wanted.keys() if found[name] != wanted[name]}),
    ]
    if any(faults):
        raise SparkError(
            f"{folder}: not an adapter of '{policy}': of {len(wanted)} weights {', '.join(filter(None, faults))}; set "
            f"synth.policy to the model it was trained on"
        )
    if broken := _not_finite(folder):
        raise SparkError(
            f"{folder}: {_fault('with values that are no finite numbers', broken)}; copy it again or train it anew"
        )


def _fault(what: str, names: Collection[str]) -> str:
    if not names:
        return ""
    first = ", ".join(sorted(names)[:_NAMED])
    return f"{len(names)} {what} ({first}{', ...' if len(names) > _NAMED else ''})"


def _is_base(name: str) -> bool:
    # peft saves these two whole beside an adapter where the vocabulary grew, whatever the adapter is laid over.
    return name.endswith(("embed_tokens.weight", "lm_head.weight"))


def _found(folder: Path) -> Shapes:
    """Weight -> shape, as the file says."""
    from safetensors import safe_open

    path = folder / "adapter_model.safetensors"
    try:
        if path.is_file():
            with safe_open(path, framework="pt") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return _unpickled(folder / "adapter_model.bin")
    except Exception as fault:  # each format has its own kinds; all mean that the file is damaged
        raise SparkError(f"{folder}: its weights cannot be read ({first_line(fault)}); copy it again") from None


def _unpickled(path: Path) -> Shapes:
    return {str(name): tuple(weight.shape) for name, weight in _pickled(path, "meta").items()}


def _pickled(path: Path, device: str) -> Any:
    import torch

    # `weights_only`: a pickle may run what it likes, these may not.
    return torch.load(path, map_location=device, weights_only=True)


def _not_finite(folder: Path) -> list[str]:
    """Names of weights that hold a NaN or an infinity. One is read at a time: an adapter may be larger than memory is free."""
    import torch
    from safetensors import safe_open

    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        weights = _pickled(folder / "adapter_model.bin", "cpu")
        return [str(name) for name, weight in weights.items() if not torch.isfinite(weight).all()]
    with safe_open(path, framework="pt") as file:
        return [name for name in file.keys() if not torch.isfinite(file.get_tensor(name)).all()]  # noqa: SIM118


def _wanted(folder: Path, policy: str) -> Shapes:
    """Weight -> shape of what the adapter's configuration adds to the policy, laid out without memory."""
    import torch
    from peft import LoraConfig, PeftConfig, get_peft_model, get_peft_model_state_dict

    empty = loading.open_empty(policy)
    try:
        config: Any = PeftConfig.from_pretrained(str(folder))
        if not isinstance(config, LoraConfig):
            raise SparkError(f"{folder}: is no LoRA adapter but {config.peft_type}; engines here lay LoRA over a model")
        config.init_lora_weights = False  # some ways to begin would work on the model's weights
        with torch.device("meta"):
            laid = get_peft_model(empty, config)
        weights = get_peft_model_state_dict(laid, save_embedding_layers=False)
    except SparkError:
        raise
    except Exception as fault:  # a configuration of any content: peft raises whatever its parts do
        raise SparkError(f"{folder}: not an adapter of '{policy}' ({first_line(fault)})") from None
    return {name: tuple(weight.shape) for name, weight in weights.items()}
