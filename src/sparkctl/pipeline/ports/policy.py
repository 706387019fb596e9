"""From settings to the policy's port: which engine answers, under which memory scope, opened only when something is asked.

A scope names what answers: a policy by the bytes of its folder, a judge by its name.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sparkctl.method.ids import digest, digest_path
from sparkctl.method.ports import Port, Watch
from sparkctl.models import adapter_files, loading
from sparkctl.storage.files import digest_artifact
from sparkctl.storage.memory import Memory, lazy, remembered, remembered_singly

POLICY_CHUNK = {"transformers": 256, "vllm": 2048}
"""Requests that are put to a policy and remembered together. vLLM runs dry at the end of each, so its are large."""
POLICY_ACCOUNT = "policy"
"""What a served policy is booked on in the memory of replies."""
ENGINE_VERSION = 2
"""Raised by hand when the same request gets other tokens: rendering, sampling, stopping."""
NANO_ENGINE_VERSION = 1
"""Of the embedded policy, whose replies keep their name where they stay as they were. Version 2 keeps the token that reaches
over a stop string; of the embedded tokenizer none can: a line break is the first character of a piece or in none."""
_WHOLE_FILE = 64 * 2**20
_BLOCKS = 64


def policy_identity(policy: str) -> str:
    """What tells one policy model from another: the bytes of a local folder, the name of one on the hub.

    Of a weight file over 64 MiB only the size and 64 blocks spread over all of it are read: enough to tell two
    trainings apart, and a plan must not take a minute.
    """
    folder = Path(loading.resolve(policy))
    if not folder.is_dir():
        return policy
    return digest([[path.name, _digest_weights(path)] for path in sorted(folder.iterdir()) if path.is_file()])


def _digest_weights(path: Path) -> str:
    size = path.stat().st_size
    if size <= _WHOLE_FILE:
        return digest_path(path)
    sample = hashlib.sha256()
    with path.open("rb") as file:
        for i in range(_BLOCKS):
            file.seek(i * (size - 2**20) // (_BLOCKS - 1))
            sample.update(file.read(2**20))
    return digest([size, sample.hexdigest()])


def engine_identity(settings: Any) -> dict[str, str]:
    """What else decides what a policy writes: its weights and tokenizer, and how the engine reads and samples."""
    served = [settings.litellm.model] if settings.engine == "litellm" and settings.litellm.model else []
    version = NANO_ENGINE_VERSION if settings.policy == loading.NANO else ENGINE_VERSION
    engine = " ".join([settings.engine, str(version), *served])
    return {"model": policy_identity(settings.policy), "engine": engine}


def policy_port(settings: Any, adapter: Path | None, memory: Memory, watch: Watch) -> Port:
    """The policy, with a LoRA adapter or without."""

    def open_port() -> Callable[..., Any]:
        if adapter:
            adapter_files.check(adapter, settings.policy)
        return partial(_engine(settings), adapter=adapter)

    laid = digest_artifact(adapter) if adapter else None
    scope = digest(["policy", *_precision(settings), engine_identity(settings), laid])
    if settings.engine == "litellm":
        return remembered_singly(lazy(open_port), memory, scope, account=POLICY_ACCOUNT, watch=watch)
    return remembered(lazy(open_port), memory, scope, chunk=POLICY_CHUNK[settings.engine], watch=watch)


def _precision(settings: Any) -> tuple[str, ...]:
    """(dtype,), and how the weights are quantised where they are."""
    return (settings.dtype,) if settings.quantise == "none" else (settings.dtype, settings.quantise)


_READ_BY = {"transformers": ("batch_size", "device"), "vllm": ("vllm",), "litellm": ("litellm",)}
"""Engine -> the settings that it alone is opened with."""
_opened: dict[str, Any] = {}
"""The engine opened last: the rounds of a run, and all adapters, ask the same model."""


def _engine(settings: Any) -> Any:
    asked = settings.model_dump(mode="json", include={"engine", "dtype", "quantise", *_READ_BY[settings.engine]})
    key = digest([policy_identity(settings.policy), asked])
    if key not in _opened:
        close_engine()  # first: two large models do not fit beside one another
        _opened[key] = _open_engine(settings)
    return _opened[key]


def _open_engine(settings: Any) -> Any:
    weights = {"dtype": settings.dtype, "quantise": settings.quantise}
    if settings.engine == "vllm":
        from sparkctl.models.vllm_engine import VllmEngine
        from sparkctl.models.vllm_replicas import VllmReplicas

        kind = VllmReplicas if settings.vllm.data_parallel > 1 else VllmEngine
        return kind(settings.policy, options=settings.vllm, **weights)
    if settings.engine == "litellm":
        from sparkctl.models.served_engine import ServedEngine

        return ServedEngine(settings.policy, settings.litellm)
    from sparkctl.models.transformers_engine import TransformersEngine

    return TransformersEngine(settings.policy, device=settings.device, batch_size=settings.batch_size, **weights)


def close_engine() -> None:
    """Give up the policy model that is open, with its processes and memory."""
    for engine in _opened.values():
        engine.close()
    _opened.clear()


def learner(settings: Any, **places: Any) -> Any:
    """What trains the policy; the engine's own copy of it is given up first. `places`: see `Learner`."""
    from sparkctl.models.learner import Learner

    close_engine()
    return Learner(settings, identity=policy_identity(settings.policy), **places)
