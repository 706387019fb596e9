"""Several copies of a model in vLLM, each in a process of its own with its own GPUs, or its own cores: data parallel.

vLLM's offline `LLM` holds one copy per process. Requests are cut into as many runs of neighbours as there are copies, so
that what shares a prefix stays together.
"""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise
from pathlib import Path
from typing import Any

from sparkctl.config.engines import Vllm
from sparkctl.errors import SparkError
from sparkctl.method.ports import Reply, Request
from sparkctl.models.vllm_engine import VllmEngine

_GPUS = "CUDA_VISIBLE_DEVICES"
_CORES = "VLLM_CPU_OMP_THREADS_BIND"


class VllmReplicas:
    """A port like `VllmEngine`, over `options.data_parallel` copies of it."""

    def __init__(self, policy: str, *, options: Vllm, **weights: Any) -> None:
        alone = options.model_copy(update={"data_parallel": 1})
        places = _shares(options.data_parallel, options.tensor_parallel)
        self._copies = [_process(place, (policy, alone, weights)) for place in places]

    def __call__(self, requests: Sequence[Request], adapter: Path | None = None) -> list[Reply]:
        """One reply per request, in order."""
        parts = _runs(requests, len(self._copies))
        asked = [copy.submit(_ask, part, adapter) for copy, part in zip(self._copies, parts, strict=True) if part]
        try:
            return [reply for each in asked for reply in each.result()]
        except BrokenProcessPool:
            raise SparkError("synth.vllm.data_parallel: a copy of the model died; its own messages are above") from None

    def close(self) -> None:
        """End the processes."""
        for copy in self._copies:
            copy.submit(_close)
            copy.shutdown()


def _shares(copies: int, gpus_each: int) -> list[dict[str, str]]:
    """Copy -> the environment that gives it its part of the machine."""
    import torch

    if torch.cuda.is_available():
        named = os.environ.get(_GPUS)
        gpus = named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]
        if copies * gpus_each > len(gpus):
            raise SparkError(
                f"synth.vllm: {copies} copies on {gpus_each} GPUs each need {copies * gpus_each}, here are {len(gpus)}"
            )
        return [{_GPUS: ",".join(gpus[i * gpus_each : (i + 1) * gpus_each])} for i in range(copies)]
    cores = sorted(os.sched_getaffinity(0))
    if copies > len(cores):
        raise SparkError(f"synth.vllm.data_parallel: {copies} copies need as many cores, here are {len(cores)}")
    return [{_CORES: ",".join(map(str, run))} for run in _runs(cores, copies)]


def _runs(items: Sequence[Any], n: int) -> list[Sequence[Any]]:
    """n runs of neighbours whose lengths differ by one at most."""
    ends = [len(items) * i // n for i in range(n + 1)]
    return [items[a:b] for a, b in pairwise(ends)]


def _process(place: dict[str, str], opened_with: tuple[Any, ...]) -> ProcessPoolExecutor:
    fresh = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=fresh, initializer=_open, initargs=(place, *opened_with))


# ---- in a copy's own process -----------------------------------------------------------------------------------------

_opened_with: dict[str, Any] = {}
_engine: list[VllmEngine] = []


def _open(place: dict[str, str], policy: str, options: Vllm, weights: dict[str, Any]) -> None:
    os.environ.update(place)
    _opened_with.update(weights, policy=policy, options=options)


def _ask(requests: Sequence[Request], adapter: Path | None) -> list[Reply]:
    if not _engine:  # here and not before, so that a model that cannot be opened is an answer to who asks
        _engine.append(VllmEngine(**_opened_with))
    return _engine[0](requests, adapter)


def _close() -> None:
    for engine in _engine:
        engine.close()
