"""Builds the policy folder: tokenizer, demonstrations, training from scratch. `python -m sparkctl.nano.build`

The recipe comes from a feasibility study: wide initial weights, short rotary wavelength, small batches and a high
learning rate. With the usual values the model did not learn to copy an observation in the time there is.

The same seed on the same machine with the same number of threads gives the same bytes: the work is counted in tokens,
not in minutes. Another CPU adds in another order, so there the weights differ in their last bits, and then grow apart.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparkctl.errors import SparkError
from sparkctl.method.chat import action_prefix, encode_chat
from sparkctl.method.episode import messages
from sparkctl.nano import POLICY, questions, tokenizer, world
from sparkctl.nano.play import is_correct, play
from sparkctl.nano.teacher import Box, Rollout, demonstrate, renamed
from sparkctl.tools.python import sandbox
from sparkctl.tools.toolbox import toolbox

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

IGNORED = -100
DRAW = 1400
"""Questions per draw: a draw of this size still holds every kind in its share."""
AUX_SHARE = 0.5
RENAMED_SHARE = 0.8
REPEATS = {"nano-reason": 4, "nano-sum": 2, "nano-fact": 2, "nano-unit_sum": 2}
"""Kinds that are shown more often than they are asked, because they are learnt last."""


@dataclass(frozen=True)
class Recipe:
    """All numbers of the training."""

    seed: int = 0
    rollouts: int = 60_000
    tokens: int = 9_000_000
    batch_tokens: int = 1536
    learning_rate: float = 5e-3  # of AdamW: embeddings and norms
    matrix_rate: float = 0.02  # of Muon: the matrices of the layers
    last_rate: float = 0.02  # share of the learning rate at the end
    warm_up: int = 100
    layers: int = 3
    width: int = 96
    inner: int = 256
    heads: int = 3
    threads: int = 1  # two are 1.3 times as fast alone, and 5 times slower beside another busy program


@dataclass(frozen=True)
class Example:
    """Token ids of a rollout and what is to be predicted at each place."""

    ids: list[int]
    labels: list[int]


def main() -> None:
    """Build into a folder, from the command line."""
    parser = argparse.ArgumentParser(description="Build the nano policy.")
    parser.add_argument("--out", type=Path, default=POLICY)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--tokens", type=int, default=Recipe.tokens, help="tokens to train on")
    parser.add_argument("--rollouts", type=int, default=Recipe.rollouts, help="demonstrations to train on")
    parser.add_argument("--threads", type=int, default=Recipe.threads)
    asked = parser.parse_args()
    build(asked.out, Recipe(seed=asked.seed, tokens=asked.tokens, rollouts=asked.rollouts, threads=asked.threads))


def build(out: Path, recipe: Recipe) -> None:
    """Tokenizer, examples, training, saving; prints how it goes."""
    import torch

    if (mode := sandbox.found()).name == "off":
        raise SparkError(f"the policy is taught by examples that run Python; {mode.warning}")
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    started = time.monotonic()
    words = tokenizer.build()
    with toolbox(world.documents()) as box:
        examples = demonstrations(words, box, recipe)
        positions = sum(len(example.ids) for example in examples)
        print(f"{len(examples)} rollouts, {positions} tokens, {time.monotonic() - started:.0f} s", flush=True)
        model = new_model(words, recipe)
        train(model, examples, recipe, lambda: greedy_accuracy(model, words, box, count=56))
        save(model, words, out)
        share = greedy_accuracy(model, words, box, count=280)
    print(f"greedy accuracy {share:.3f}; saved to {out} after {time.monotonic() - started:.0f} s", flush=True)


def demonstrations(words: "PreTrainedTokenizerFast", box: Box, recipe: Recipe) -> list[Example]:
    """Examples from many draws of training questions; in half of them the tools are drawn without habit."""
    rng = random.Random(f"teacher/{recipe.seed}")
    examples: list[Example] = []
    draw = 0
    while len(examples) < recipe.rollouts:
        draw += 1
        for row in questions.generate("train", DRAW, seed=1_000_000 * (recipe.seed + 1) + draw):
            for _ in range(REPEATS.get(row["src"], 1)):
                rollout = demonstrate(row, box, rng, aux=rng.random() < AUX_SHARE)
                examples.append(example(words, renamed(rollout, rng) if rng.random() < RENAMED_SHARE else rollout))
    return examples[: recipe.rollouts]


def example(words: "PreTrainedTokenizerFast", rollout: Rollout) -> Example:
    """Ids as inference sees them. Learnt is what the policy writes: its turns up to their end, less masked tool names."""
    ids = encode_chat(words, messages(rollout.state, ""))[:-1]  # without the opening of a further turn
    opening, end = words.convert_tokens_to_ids(tokenizer.ASSISTANT), words.eos_token_id
    action = action_prefix(words, (), "")[0]
    labels, inside, masked = [], False, iter(rollout.masked)
    for place, token in enumerate(ids):
        hidden = inside and ids[place - 1] == action and next(masked)
        labels.append(token if inside and not hidden else IGNORED)
        inside = token == opening or (inside and token != end)
    return Example(ids, labels)


def new_model(words: "PreTrainedTokenizerFast", recipe: Recipe) -> "LlamaForCausalLM":
    """A Llama of under a million parameters with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=recipe.width,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        initializer_range=0.06,
        tie_word_embeddings=True,
        pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def train(model: Any, examples: list[Example], recipe: Recipe, watch: Callable[[], float]) -> None:
    """One pass after another over the examples until the tokens are used up; linear decay.

    `watch` gives the accuracy that the lines of progress show.
    """
    import torch

    optimizers = new_optimizers(model, recipe)
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    started, done, step, shown, losses = time.monotonic(), 0, 0, 0, []
    model.train()
    for ids, labels in batches(examples, recipe):
        share = min(1.0, (step + 1) / recipe.warm_up) * (1 - (1 - recipe.last_rate) * done / recipe.tokens)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * share
        loss = turn_loss(model, ids, labels)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
        done, step = done + ids.numel(), step + 1
        if done >= shown + recipe.tokens // 6:
            shown = done
            right = watch()
            speed = done / (time.monotonic() - started)
            mean = sum(losses[-200:]) / len(losses[-200:])
            print(f"{done:>10} tokens {speed:>6.0f}/s  loss {mean:.4f}  greedy {right:.3f}", flush=True)


def new_optimizers(model: Any, recipe: Recipe) -> list["torch.optim.Optimizer"]:
    """Muon for the matrices of the layers, which is ahead of AdamW by a sixth in loss after a million tokens."""
    import torch

    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    known = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in known]
    return [
        torch.optim.Muon(matrices, lr=recipe.matrix_rate, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def turn_loss(model: Any, ids: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
    """Mean cross entropy over the learnt tokens; logits are computed only where there is something to learn.

    Padding stands at the end, where causal attention keeps it from everything that counts.
    """
    import torch

    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]  # (batch, token, width)
    wanted = labels[:, 1:]
    kept = wanted != IGNORED
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[kept]), wanted[kept])


def batches(examples: list[Example], recipe: Recipe) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    """Batches of examples of like length, about `batch_tokens` each, until `tokens` places are used up."""
    import torch

    rng = random.Random(f"batches/{recipe.seed}")
    done = 0
    while True:
        for part in _grouped(examples, recipe.batch_tokens, rng):
            wide = max(len(item.ids) for item in part)
            ids = torch.tensor([item.ids + [0] * (wide - len(item.ids)) for item in part])
            labels = torch.tensor([item.labels + [IGNORED] * (wide - len(item.labels)) for item in part])
            yield ids, labels
            done += ids.numel()
            if done >= recipe.tokens:
                return


def _grouped(examples: list[Example], size: int, rng: random.Random) -> list[list[Example]]:
    """All examples once, cut into batches of like length in random order."""
    order = sorted(examples, key=lambda item: len(item.ids) + rng.random() * 6)
    groups: list[list[Example]] = [[]]
    for item in order:
        if groups[-1] and (len(groups[-1]) + 1) * len(item.ids) > size:
            groups.append([])
        groups[-1].append(item)
    rng.shuffle(groups)
    return groups


def greedy_accuracy(model: Any, words: Any, box: Box, count: int) -> float:
    """Share of test questions answered rightly without sampling."""
    rows = questions.generate("test", count, seed=7)
    model.eval()
    states = play(model, words, rows, box)
    model.train()
    return sum(is_correct(state, row) for state, row in zip(states, rows, strict=True)) / count


def save(model: Any, words: Any, out: Path) -> None:
    """An ordinary Hugging Face folder."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id, do_sample=True, temperature=1.0
    )
    model.save_pretrained(out)
    words.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)  # transformers leaves it to its owner alone


if __name__ == "__main__":
    main()
