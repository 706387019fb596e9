"""Opening a policy model: the embedded one, a folder, or a name on the hub; with a LoRA adapter where one is given."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from sparkctl.config import trust
from sparkctl.config.recipe import expanded
from sparkctl.errors import SparkError, first_line

NANO = "nano"
TEXTS = ("chat_template.jinja", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
"""Files of a model that decide how it is asked, beside its weights."""


def resolve(policy: str) -> str:
    """What `from_pretrained` is given for a policy's name."""
    if policy == NANO:
        return str(Path(__file__).parents[1] / "nano" / "policy")
    folder = expanded(policy, "synth.policy")
    if (policy.startswith((".", "/", "~")) or policy.count("/") > 1) and not folder.is_dir():
        raise SparkError(f"synth.policy: '{policy}' is no folder; give a Hugging Face model folder or a hub name")
    # A template that cannot be read would count as one that is not there, and the model be asked in another language.
    for name in TEXTS if folder.is_dir() else ():
        if os.path.lexists(folder / name) and not (folder / name).is_file():
            raise SparkError(f"synth.policy: {folder / name} is no file that can be read; copy the model again")
    return str(folder)


def device_of(wanted: str, section: str = "synth") -> str:
    """The device for "auto": the GPU where there is one. `section` of the recipe is named where it cannot be used."""
    import torch

    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise SparkError(f"{section}.device: '{wanted}' cannot be used, torch sees no GPU; set cpu or auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def open_tokenizer(policy: str) -> Any:
    """The policy's tokenizer, whose `decode` leaves out no space that was written, whatever its folder says."""
    from transformers import AutoTokenizer

    def load(source: str) -> Any:
        told = {"clean_up_tokenization_spaces": False, "trust_remote_code": trust.said()}
        tokenizer = AutoTokenizer.from_pretrained(source, **told)
        if not isinstance(longest := tokenizer.model_max_length, int | float):  # else the first encoding would fail
            raise ValueError(f"tokenizer_config.json: model_max_length is {longest!r}, not a number")
        return tokenizer

    return _guarded(policy, load)


def open_config(policy: str) -> Any:
    """The policy's configuration, without its weights."""
    from transformers import AutoConfig

    return _guarded(policy, lambda source: AutoConfig.from_pretrained(source, trust_remote_code=trust.said()))


def open_generation_config(policy: str) -> Any:
    """What the model's folder says of generation; what can be told from its configuration where it says nothing."""
    from transformers import GenerationConfig

    def load(source: str) -> Any:
        try:
            return GenerationConfig.from_pretrained(source)
        except OSError:
            return GenerationConfig.from_model_config(open_config(policy))

    return _guarded(policy, load)


def open_model(
    policy: str, dtype: str, device: str, *, quantise: str = "none", attention: str = "sdpa", section: str = "synth"
) -> Any:
    """The policy's weights, in evaluation mode. `quantise` "nf4": 4-bit with double quantisation; `attention` "flex":
    FlexAttention."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "trust_remote_code": trust.said()}
    place = device_of(device, section)
    if attention == "flex" and not place.startswith("cuda"):
        raise SparkError(f"{section}.attention: 'flex' trains on a GPU only; set sdpa")
    if attention == "flex":
        options["attn_implementation"] = "flex_attention"
    if quantise == "nf4":
        options |= _four_bit(options["dtype"], place)
        return _guarded(policy, lambda source: AutoModelForCausalLM.from_pretrained(source, **options)).eval()
    model = _guarded(policy, lambda source: AutoModelForCausalLM.from_pretrained(source, **options))
    try:
        return model.to(place).eval()
    except (RuntimeError, AssertionError) as fault:
        raise SparkError(
            f"{section}.device: '{device}' cannot be used ({first_line(fault)}); set cpu, cuda or auto"
        ) from None


def open_empty(policy: str) -> Any:
    """The policy's modules without weights: nothing but its configuration is read, and no memory is taken."""
    import torch
    from transformers import AutoModelForCausalLM

    config = open_config(policy)
    with torch.device("meta"):
        return _guarded(policy, lambda source: AutoModelForCausalLM.from_config(config, trust_remote_code=trust.said()))


def _four_bit(dtype: Any, device: str) -> dict[str, Any]:
    """Options that load the weights in NF4 (QLoRA, arXiv 2305.14314, section 3)."""
    try:
        import bitsandbytes  # noqa: F401
    except Exception as fault:  # its native library may be missing, or be made for another machine
        raise SparkError(
            f"train.quantise: 'nf4' needs bitsandbytes, which does not run here ({first_line(fault)}); "
            f"pip install 'sparkctl[qlora]', or set train.quantise = 'none'"
        ) from None
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def with_adapter(model: Any, folder: Path) -> Any:
    """The model with a LoRA adapter on it, or a SparkError that names the folder."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(folder)).eval()
    except Exception as fault:  # files of any content; `adapter_files.check` has said what can be said before
        raise SparkError(f"{folder}: not an adapter of this base model ({first_line(fault)})") from None


def adapter_rank(folder: Path) -> int:
    """The rank of a LoRA adapter, or a SparkError that names the folder."""
    try:
        return int(json.loads((folder / "adapter_config.json").read_text())["r"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as fault:
        raise SparkError(f"{folder}: not a LoRA adapter ({first_line(fault)})") from None


def _guarded(policy: str, load: Any) -> Any:
    source = resolve(policy)
    for name in ("transformers", "bitsandbytes", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return load(source)
    except Exception as fault:  # every model library raises its own kinds; all mean that this model cannot be opened
        if "trust_remote_code" in str(fault) and not trust.said():
            raise SparkError(
                f"synth.policy: model '{policy}' brings code of its own, which is not run; read that code, then say "
                f"`sparkctl --trust-remote-code` before the command, or give a model that transformers knows"
            ) from None
        hub = "" if Path(source).is_dir() else "; where there is no network give a folder"
        raise SparkError(
            f"synth.policy: model '{policy}' cannot be opened ({first_line(fault)}); check the folder or name{hub}"
        ) from None
