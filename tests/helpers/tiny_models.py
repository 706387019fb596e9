"""A random tiny Llama and random rollouts, shared by the tests of the learner."""

import random

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sparkctl.training import lora
from sparkctl.training.settings import Train
from sparkctl.training.trees import Action, Fork, Tree

torch.set_num_threads(1)  # so small a model is slower on two
NAMES = ((5,), (6, 7), (6, 8))


def settings(**changes):
    base = {"policy": "p", "prompt": "", "descriptions": {}, "lora_r": 2, "lora_alpha": 4, "kl": 0.0, "epochs": 1}
    base |= {"batch_size": 4, "lr": 1e-2, "micro_batch_tokens": 10_000, "device": "cpu"}
    return Train(**(base | changes))


def plain_model(seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,  # at the default 0.02 so small a model says nearly nothing of its input
    )
    return LlamaForCausalLM(config).eval()


def moved_model(**changes):
    """With LoRA whose B, zero at the start, is moved, so that gradients reach every adapter weight."""
    made = lora.with_lora(plain_model(), settings(**changes))
    for name, weight in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return made


def rollouts(n=3, actions=1, seed=1, names=(), steps=None, **given):
    """n rollouts of one to three steps, each step with this many actions."""
    draw = random.Random(seed)

    def ids(size):
        return [draw.randrange(1, 40) for _ in range(size)]

    def fork(trunk, step):
        values = {"advantage": 1.0} | given
        made = tuple(
            Action(tuple(a), tuple(draw.uniform(-4, -1) for _ in a), **({"reward": len(a) / 5} | values))
            for a in (ids(draw.randrange(1, 6)) for _ in range(actions))
        )
        return Fork(trunk + ids(3), made, step, reward=draw.uniform(0, 1))

    made = []
    for number in range(n):
        trunk, forks = ids(draw.randrange(4, 12)), []
        for step in range(1, (steps or draw.randrange(1, 4)) + 1):
            forks.append(fork(trunk, step))
            trunk = trunk + ids(6)
        made.append(Tree(f"q{number}-s0", tuple(forks), names))
    return made


def started(model, trees):
    """The same rollouts with the log-probs that this model gives them, as `reference` computes them."""
    from dataclasses import replace

    from sparkctl.training.reference import logprobs

    known = logprobs(model, trees, 10_000, "tree", lambda n: None)
    return [
        replace(
            tree,
            forks=tuple(
                replace(
                    fork,
                    actions=tuple(
                        replace(a, start=tuple(lp))
                        for a, lp in zip(fork.actions, known[tree.rollout_id, fork.label], strict=True)
                    ),
                )
                for fork in tree.forks
            ),
        )
        for tree in trees
    ]
