"""Which rollouts make up which update. A rollout is never split between two updates: its steps share their tokens."""

import random
from collections.abc import Iterator, Sequence

from sparkctl.training.trees import Tree


def updates(trees: Sequence[Tree], epochs: int, batch_size: int, seed: int) -> list[tuple[int, list[Tree]]]:
    """(epoch from 1, the rollouts of one update) in order: every rollout once per epoch, shuffled by seed; an update is
    full once it holds `batch_size` states."""
    return [(epoch, batch) for epoch in range(1, epochs + 1) for batch in _epoch(trees, epoch, batch_size, seed)]


def _epoch(trees: Sequence[Tree], epoch: int, batch_size: int, seed: int) -> Iterator[list[Tree]]:
    order = list(trees)
    random.Random(f"{seed}-{epoch}").shuffle(order)
    batch: list[Tree] = []
    for tree in order:
        batch.append(tree)
        if sum(len(t.forks) for t in batch) >= batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def share_of_rate(update: int, updates: int, warmup: float) -> float:
    """Of the learning rate, at an update counted from 0: rising linearly to 1, then falling linearly to 0."""
    rising = max(1, round(warmup * updates))
    return (update + 1) / rising if update < rising else (updates - update) / max(1, updates - rising)
