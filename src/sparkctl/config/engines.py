"""What the stages that ask a policy (`synth`, `eval`) have in common: which model answers, and by which engine."""

from typing import ClassVar, Literal

from pydantic import Field

from sparkctl.config.outages import USUAL, MaxFailed
from sparkctl.config.settings import Clash, Settings, Use


class Vllm(Settings):
    """How vLLM runs on this machine. `max_model_len` decides which prompts are refused; the rest are knobs."""

    knobs: ClassVar[frozenset[str]] = frozenset(
        {
            "tensor_parallel",
            "data_parallel",
            "gpu_memory",
            "cpu_cache_gib",
            "max_num_seqs",
            "prefix_caching",
            "eager",
            "lora_rank",
        }
    )

    tensor_parallel: int = Field(1, ge=1)
    """GPUs that share one copy of the model."""
    data_parallel: int = Field(1, ge=1)
    """Copies of the model, each with a part of the prompts."""
    gpu_memory: float = Field(0.9, gt=0, le=1)
    """Share of a GPU's memory that vLLM takes."""
    cpu_cache_gib: int = Field(2, ge=1)
    """Memory for keys and values where vLLM is built for the CPU, GiB."""
    max_model_len: int | None = Field(None, ge=1)
    """Longest prompt and continuation, tokens; null: what the model can take."""
    max_num_seqs: int | None = Field(None, ge=1)
    """Sequences written at once; null: vLLM's own choice."""
    prefix_caching: bool = True
    """Run what prompts have in common once: the nine candidates of a state share nearly all."""
    eager: bool = False
    """Compile nothing: starts faster, runs slower."""
    lora_rank: int = Field(0, ge=0)
    """Rank of the largest adapter that room is made for when the model is opened. The pipeline sets it for `eval`; an
    adapter that is larger has the model opened anew."""


class Served(Settings):
    """A model behind an OpenAI-compatible server that takes and gives token ids, such as `vllm serve`."""

    knobs: ClassVar[frozenset[str]] = frozenset({"api_base", "concurrency", "timeout_s", "retries"})

    api_base: str = Field("http://127.0.0.1:8000/v1", pattern=r"^https?://[^@?#]+$")
    """Its address, without a key or password: VLLM_API_KEY in the environment is for that."""
    model: str | None = None
    """The name it is served under; null: the policy's."""
    concurrency: int = Field(64, ge=1)
    """Calls in flight."""
    timeout_s: float = Field(600.0, gt=0)
    retries: int = Field(3, ge=0)


class Asked(Settings):
    """The policy that is asked, and how. Base of the settings of `synth` and `eval`."""

    knobs: ClassVar[frozenset[str]] = frozenset({"batch_size", "device", "max_failed"})
    uses: ClassVar[tuple[Use, ...]] = (
        Use(("vllm",), lambda s: s.engine == "vllm", 'without engine = "vllm"', keyed=True),
        Use(("litellm",), lambda s: s.engine == "litellm", 'without engine = "litellm"', keyed=True),
    )
    clashes: ClassVar[tuple[Clash, ...]] = (
        Clash(
            lambda s: s.engine == "litellm" and s.quantise != "none",
            "a served model is quantised by its server; leave quantise out",
        ),
        Clash(
            lambda s: s.engine == "transformers" and s.quantise == "fp8",
            'quantise = "fp8" is done by vLLM alone; set engine = "vllm", or quantise = "nf4"',
        ),
    )

    policy: str
    """Folder or hub name of the policy model; "nano" is the embedded one. Its tokenizer is always read from there."""
    engine: Literal["transformers", "vllm", "litellm"] = "transformers"
    """transformers: in this process. vllm: offline vLLM. litellm: a served model."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quantise: Literal["none", "nf4", "fp8"] = "none"
    """Of the model's weights as they are loaded. nf4: 4 bits, by bitsandbytes; fp8: by vLLM."""
    vllm: Vllm = Vllm()  # type: ignore[call-arg]
    """Knobs of the engine vllm."""
    litellm: Served = Served()  # type: ignore[call-arg]
    """Of the engine litellm; the model's name decides the result, the rest are knobs."""
    batch_size: int = Field(512, ge=1)
    """Knob of the engine transformers: sequences generated at once."""
    device: str = "auto"
    """Knob of the engine transformers: "cpu", "cuda", or "auto"."""
    max_failed: MaxFailed = USUAL
    """Knob: share of the calls of the policy that may fail: more than that, or all, end the stage. See outages.py."""
