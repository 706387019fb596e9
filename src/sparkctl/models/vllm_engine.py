"""The policy engine on vLLM, offline: token ids in, token ids and log-probs out, prefixes shared by vLLM's own cache."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from sparkctl.config import trust
from sparkctl.config.engines import Vllm
from sparkctl.errors import SparkError, first_line
from sparkctl.method.ids import seed_of
from sparkctl.method.ports import Reply, Request
from sparkctl.models import loading
from sparkctl.models.completions import Prompt, body, completion, encoded, ends_of_turn

_QUANTISATION = {"none": None, "nf4": "bitsandbytes", "fp8": "fp8"}
_CPU_BATCH = 8192
"""Tokens that are run at once on a CPU, at least."""


class VllmEngine:
    """One model in vLLM, with any LoRA adapter over it. Opening it takes a minute or so."""

    def __init__(self, policy: str, *, dtype: str = "float32", quantise: str = "none", options: Vllm | None = None):
        self.policy, self.dtype, self.quantise = policy, dtype, quantise
        self.options = options or Vllm()  # type: ignore[call-arg]
        self.tokenizer = loading.open_tokenizer(policy)
        self.ends = ends_of_turn(self.tokenizer, loading.open_generation_config(policy))
        self._llm: Any = None
        self._rank = 0
        """The largest rank of an adapter that the open model takes; 0: it takes none."""
        self._adapters: dict[Path, int] = {}

    def __call__(self, requests: Sequence[Request], adapter: Path | None = None) -> list[Reply]:
        """One reply per request, in order, as `TransformersEngine` gives them. `adapter`: a LoRA folder over the model."""
        llm = self._opened(adapter)
        context = llm.model_config.max_model_len
        prompts = [encoded(self.tokenizer, request, context) for request in requests]
        asked = [(p, r) for p, r in zip(prompts, requests, strict=True) if isinstance(p, Prompt)]
        outputs = iter(self._generated(llm, asked, adapter))
        return [
            self._reply(prompt, request, outputs) if isinstance(prompt, Prompt) else prompt
            for prompt, request in zip(prompts, requests, strict=True)
        ]

    def close(self) -> None:
        """End vLLM's processes and free its memory."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None

    def _generated(self, llm: Any, asked: Sequence[tuple[Prompt, Request]], adapter: Path | None) -> list[Any]:
        """vLLM's output per continuation, in order."""
        inputs = [{"prompt_token_ids": prompt.ids} for prompt, _ in asked for _ in prompt.forced]
        params = [p for prompt, request in asked for p in self._sampling(prompt, request)]
        if not inputs:
            return []
        try:
            with _log_probs_without_text():
                outputs: list[Any] = llm.generate(inputs, params, use_tqdm=False, lora_request=self._laid(adapter))
        except Exception as fault:  # its processes died, of memory or of a fault; nothing that was said is lost
            raise SparkError(
                f"synth.engine: vLLM failed ({first_line(fault)}); its own messages are above. What was answered "
                f"before is kept: run again, with a smaller synth.vllm.gpu_memory or max_num_seqs if memory ran out"
            ) from None
        return outputs

    def _sampling(self, prompt: Prompt, request: Request) -> Iterator[Any]:
        from vllm import SamplingParams

        from sparkctl.models.vllm_forced import KEY

        for i, forced in enumerate(prompt.forced):
            yield SamplingParams(
                temperature=request["temperature"],
                # A greedy request with a seed of its own would only cost vLLM a random generator.
                seed=seed_of(request["seed"], i) if request["temperature"] else None,
                max_tokens=len(forced) + request["max_new_tokens"],
                stop=request["stop"],
                stop_token_ids=sorted(self.ends),
                logprobs=0,
                extra_args={KEY: forced} if forced else None,
                skip_special_tokens=False,
                skip_clone=True,  # no two requests share it
            )

    def _reply(self, prompt: Prompt, request: Request, outputs: Iterator[Any]) -> Reply:
        found = [self._completion(forced, request["stop"], next(outputs).outputs[0]) for forced in prompt.forced]
        return Reply(body(prompt.ids, found))

    def _completion(self, forced: list[int], stop: Sequence[str], output: Any) -> dict[str, Any]:
        ids = list(output.token_ids)
        logprobs = [place[token].logprob for token, place in zip(ids, output.logprobs, strict=True)]
        return completion(self.tokenizer, self.ends, stop, forced, ids, logprobs, output.finish_reason)

    def _opened(self, adapter: Path | None) -> Any:
        """The model, opened anew where it cannot take the adapter."""
        rank = loading.adapter_rank(adapter) if adapter else 0
        if self._llm is None or rank > self._rank:
            self.close()
            self._rank = _room(max(rank, self.options.lora_rank))
            with warnings.catch_warnings():
                # What libraries under vLLM will drop some day is no news to who asks a policy.
                warnings.simplefilter("ignore")
                self._llm = self._open()
            # Before Python waits for child processes at its end: vLLM's would never end by themselves.
            Finalize(None, self.close, exitpriority=100)
        return self._llm

    def _open(self) -> Any:
        from_vllm = _vllm(self.options)
        o = self.options
        wanted: dict[str, Any] = {
            "max_model_len": o.max_model_len,
            "max_num_seqs": o.max_num_seqs,
            "quantization": _QUANTISATION[self.quantise],
        }
        if _on_cpu():
            # Of a prompt that is run in parts, vLLM 0.32 winds back the seeded generator, which a CPU's cannot do.
            wanted |= {"enable_chunked_prefill": False, "max_num_batched_tokens": self._longest(o.max_model_len)}
        if self._rank:
            wanted |= {"enable_lora": True, "max_lora_rank": self._rank, "max_loras": 1}
        try:
            return from_vllm.LLM(
                loading.resolve(self.policy),
                dtype=self.dtype,
                trust_remote_code=trust.said(),
                tensor_parallel_size=o.tensor_parallel,
                gpu_memory_utilization=o.gpu_memory,
                enable_prefix_caching=o.prefix_caching,
                enforce_eager=o.eager,
                logits_processors=["sparkctl.models.vllm_forced:ForcedPrefix"],
                use_tqdm_on_load=False,
                disable_log_stats=True,
                # The model's own default sampling (top-p and such) would not be the policy whose log-probs are kept.
                generation_config="vllm",
                **{name: value for name, value in wanted.items() if value is not None},
            )
        except Exception as fault:  # vLLM says by many kinds, some of other processes, that a model cannot be opened
            raise SparkError(
                f"synth.policy: vLLM cannot open '{self.policy}' ({first_line(fault)}); its own messages are above"
            ) from None

    def _longest(self, limit: int | None) -> int:
        """Tokens of one batch: no fewer than the longest prompt."""
        model = loading.open_config(self.policy).get_text_config().max_position_embeddings
        return max(min(limit or model, model), _CPU_BATCH)

    def _laid(self, adapter: Path | None) -> Any:
        if adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        number = self._adapters.setdefault(adapter, len(self._adapters) + 1)
        return LoRARequest(str(adapter), number, str(adapter))


@contextmanager
def _log_probs_without_text() -> Iterator[None]:
    """vLLM decodes the token of each log-prob into text, one by one: a third of what its own process does per token, and
    nobody here reads it."""
    from vllm.v1.engine import logprobs

    decode = logprobs.convert_ids_list_to_tokens
    logprobs.convert_ids_list_to_tokens = lambda tokenizer, token_ids: [""] * len(token_ids)
    try:
        yield
    finally:
        logprobs.convert_ids_list_to_tokens = decode


_RANKS = (16, 32, 64, 128, 256, 320, 512)
"""Those that vLLM makes room for."""


def _room(rank: int) -> int:
    if not rank:
        return 0
    room = next((r for r in _RANKS if r >= rank), None)
    if room is None:
        raise SparkError(
            f"an adapter of rank {rank} is more than vLLM takes ({_RANKS[-1]}); set engine = 'transformers'"
        )
    return room


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def _vllm(options: Vllm) -> Any:
    """The library, told to be quiet and how much memory its cache may take on the CPU."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # The second runner does not take logits processors of this kind; see vllm_forced.py.
    os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(options.cpu_cache_gib)
    try:
        import vllm
    except ImportError as fault:
        raise SparkError(
            f"synth.engine: vllm is not installed here ({first_line(fault)}); run 'make vllm', "
            f"or pip install 'sparkctl[vllm]' on a machine with a GPU, or set engine = 'transformers'"
        ) from None
    return vllm
