"""What training is measured on: a small random model, rollouts of fixed shape, and a clock. Used by train_throughput.py."""

import itertools
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

THREADS = 2
ACTIONS = 9
STEPS = 5
VOCABULARY = 4096
MODEL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 896,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
SHARE = 2
"""Rollouts with one action per state on which settings are compared: the rows of both workloads are of like lengths."""


def rollouts(workload: str, count: int, vocabulary: int = VOCABULARY) -> list[Any]:
    """Rollouts of random tokens, of the lengths that a question with nine tools has; the same in every process."""
    made = random.Random(0)
    return [_rollout(made, str(number), workload, vocabulary) for number in range(count)]


def _rollout(made: random.Random, name: str, workload: str, vocabulary: int) -> Any:
    from sparkctl.training.trees import Fork, Tree

    def text(mean: int) -> list[int]:
        length = made.randint(mean * 2 // 3, mean * 4 // 3)
        return [made.randrange(ACTIONS + 1, vocabulary) for _ in range(length)]

    trunk, forks = text(550), []
    for step in range(STEPS):
        prompt = trunk + text(60)
        # An action begins with the token that names its tool: token 0 is left for padding.
        candidates = [[1 + tool, *text(29)] for tool in range(ACTIONS)]
        executed = made.randrange(ACTIONS)
        trained = candidates if workload == "all" else [candidates[executed]]
        forks.append(Fork(prompt, tuple(_action(made, ids, vocabulary) for ids in trained), step))
        trunk = prompt + candidates[executed] + text(150)
    return Tree(name, tuple(forks), [[1 + tool] for tool in range(ACTIONS)])


def _action(made: random.Random, ids: list[int], vocabulary: int) -> Any:
    """A judged action; its log-probs under the start are near a random model's, so that ratios are near 1."""
    from math import log

    from sparkctl.training.trees import Action

    return Action(ids, [-log(vocabulary) + made.gauss(0, 0.1) for _ in ids], made.gauss(0, 1))


def policy() -> Any:
    """A Llama with random weights, the same in every process."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**MODEL)).eval()


def settings(workload: str, **more: Any) -> Any:
    """Settings of the train stage, the whole work as one update per epoch."""
    from sparkctl.training.settings import Train

    return Train(
        policy="random",
        prompt="",
        descriptions={},
        objective="ppo",
        action="all" if workload == "all" else "selected",
        group="fork",
        batch_size=10**6,
        warn_kl=1e9,
        **{"lora_r": 8, "lora_alpha": 16, **more},
    )


class Clock:
    """Notes the time and the tokens that went through the model, padding included, at the end of every update."""

    def __init__(self, model: Any) -> None:
        self.tokens = 0
        self.marks: list[tuple[float, float, int]] = []
        model.get_input_embeddings().register_forward_pre_hook(self._count)

    def _count(self, module: Any, inputs: Any) -> None:
        self.tokens += inputs[0].numel()

    def mark(self, *_: Any, **__: Any) -> None:
        self.marks.append((time.perf_counter(), time.process_time(), self.tokens))

    def best(self) -> dict[str, Any]:
        """Of the fastest update; the first one is warm-up."""
        spans = [[now - then for then, now in zip(*pair, strict=True)] for pair in itertools.pairwise(self.marks)]
        seconds, cpu_seconds, tokens = min(spans[1:])
        return {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "tokens": tokens,
            "all_seconds": [round(span[0], 3) for span in spans],
        }


def fitted(model: Any, clock: Clock, asked: dict[str, Any], chosen: Any) -> list[dict[str, Any]]:
    """The rows of the updates table; the clock is marked at the start of the first update and the end of each."""
    from sparkctl.training.trainer import Job, fit

    @contextmanager
    def progress(label: str, total: int) -> Iterator[Any]:
        clock.mark()
        yield clock.mark

    def refuse(line: str) -> None:
        raise RuntimeError(line)  # a warning means that something else would be measured than was asked for

    trees = rollouts(asked["workload"], asked["rollouts"], model.config.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        return fit(model, Job(trees, chosen, Path(folder)), progress=progress, tell=refuse)
