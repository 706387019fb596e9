"""Model FLOP utilisation of tree-packed training with the dimensions of Llama 3.1 8B; called by train_throughput.py.

Random weights made on the GPU in bfloat16, LoRA r 16 on all linear layers, every action of every state trained. The
peak is what a dense bfloat16 matrix product reaches on the same GPU in the same run. Useful work, in FLOPs:

    per token               2 P forward + 2 P backward: frozen weights have no gradient of their own
    per token               6 L for the adapters: forward, and both gradients
    per predicting place    4 H for the head
    per query and ancestor  4 D forward + 8 D backward, in every layer

P: weights of the layers' matrices, L: of the adapters, H: of the head, D: width of all heads. What the mask rules out,
what gradient checkpointing computes again, norms and softmax do not count as work; checkpointing's share is reported.
"""

import gc
from typing import Any

import train_throughput as common

MODEL: dict[str, Any] = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
}
ROLLOUTS = 12
ROOMY = 100e9
"""Bytes of GPU memory from which activations of a micro-batch are kept."""
SIDE = 8192
"""Of the matrices whose product is the peak."""


def measured(asked: dict[str, Any]) -> dict[str, Any]:
    """For both kinds of attention: trained steps and tokens per second, utilisation, peak memory."""
    peak = dense_rate()
    return {"dense_tflops": round(peak / 1e12, 1)} | {kind: _with(kind, peak) for kind in ("flex", "sdpa")}


def dense_rate() -> float:
    """FLOPs per second of a square bfloat16 matrix product, the best of several."""
    import torch

    one, two = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(20):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        one @ two
        end.record()
        torch.cuda.synchronize()
        seconds.append(begin.elapsed_time(end) / 1000)
    return 2 * SIDE**3 / min(seconds[1:])


def _with(attention: str, peak: float) -> dict[str, Any]:
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    again = torch.cuda.get_device_properties(0).total_memory < ROOMY
    asked = {"workload": "all", "rollouts": ROLLOUTS}
    chosen = common.settings(
        "all",
        packing="tree",
        attention=attention,
        lora_r=16,
        lora_alpha=32,
        epochs=3,
        dtype="bfloat16",
        gradient_checkpointing=again,
    )
    model = _model(attention)
    clock = common.Clock(model)
    common.fitted(model, clock, asked, chosen)
    found = clock.best()
    work = _work(model, common.rollouts("all", ROLLOUTS, MODEL["vocab_size"]))
    steps = ROLLOUTS * common.STEPS * common.ACTIONS
    return found | {
        "steps_per_second": round(steps / found["seconds"], 2),
        "tokens_per_second": round(found["tokens"] / found["seconds"], 1),
        "utilisation": round(work["useful"] / found["seconds"] / peak, 4),
        "gradient_checkpointing": again,
        "computed_again_of_useful": round(work["forward"] / work["useful"], 3) if again else 0.0,
        "peak_gpu_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1),
    }


def _model(attention: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    kind = "flex_attention" if attention == "flex" else attention
    with torch.device("cuda"):
        made = AutoModelForCausalLM.from_config(LlamaConfig(**MODEL), dtype=torch.bfloat16, attn_implementation=kind)
    return made.eval()


def _work(model: Any, trees: list[Any]) -> dict[str, float]:
    """FLOPs of one update: `useful`, and `forward` of the layers, which checkpointing computes a second time."""
    layers = [(name, p.numel()) for name, p in model.model.layers.named_parameters() if p.dim() == 2]
    adapters = sum(size for name, size in layers if "lora_" in name)
    frozen = sum(size for name, size in layers if "lora_" not in name)
    tokens = sum(len(tree.layout.ids) for tree in trees)
    pairs = sum(depth + 1 for tree in trees for depth in tree.layout.depth)
    places = sum(len({place for row in tree.layout.predicting for place in row}) for tree in trees)
    attention = pairs * MODEL["num_hidden_layers"] * MODEL["hidden_size"]
    useful = tokens * (4 * frozen + 6 * adapters) + places * 4 * model.lm_head.weight.numel() + 12 * attention
    return {"useful": useful, "forward": tokens * 2 * (frozen + adapters) + 4 * attention}
