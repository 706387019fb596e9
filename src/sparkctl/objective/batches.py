"""From steps as token lists to padded tensors: one row per step, loss on the action's tokens only."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Item:
    """A step to train on: everything before the action, the action (name, input, end of turn), and its advantage."""

    prompt_ids: Sequence[int]
    action_ids: Sequence[int]
    advantage: float

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.prompt_ids) + len(self.action_ids)


@dataclass(frozen=True)
class Batch:
    """Rows aligned right, so that the trained tokens of all are among the last: only those places need logits."""

    ids: torch.Tensor
    """(step, position) token ids, padded on the left."""
    attention: torch.Tensor
    """(step, position): 1 where there is a token."""
    targets: torch.Tensor
    """(step, token): the last tokens of each row."""
    mask: torch.Tensor
    """(step, token): 1.0 where the token belongs to the action."""
    advantage: torch.Tensor
    """(step,)"""

    @property
    def positions(self) -> torch.Tensor:
        """(step, position): each token's place in its own row."""
        return (self.attention.cumsum(1) - 1).clamp(min=0)


def collate(items: Sequence[Item], pad: int, device: torch.device | str = "cpu") -> Batch:
    """Pad steps into a batch. The prompt never carries loss."""
    width, tail = max(i.length for i in items), max(len(i.action_ids) for i in items)
    ids = torch.full((len(items), width), pad)
    attention = torch.zeros((len(items), width), dtype=torch.long)
    mask = torch.zeros((len(items), tail))
    for row, item in enumerate(items):
        ids[row, width - item.length :] = torch.tensor([*item.prompt_ids, *item.action_ids])
        attention[row, width - item.length :] = 1
        mask[row, tail - len(item.action_ids) :] = 1.0
    advantage = torch.tensor([item.advantage for item in items])
    return Batch(*(t.to(device) for t in (ids, attention, ids[:, width - tail :], mask, advantage)))


def epochs(items: Sequence[Item], epochs: int, batch_size: int, seed: int) -> Iterator[tuple[int, list[Item]]]:
    """(epoch from 1, the steps of one update), every step once per epoch, shuffled by seed."""
    for epoch in range(1, epochs + 1):
        order = list(items)
        random.Random(f"{seed}-{epoch}").shuffle(order)
        for i in range(0, len(order), batch_size):
            yield epoch, order[i : i + batch_size]


def micro_batches(items: Sequence[Item], tokens: int) -> list[list[Item]]:
    """The steps of an update cut into padded batches of at most `tokens` positions each, like lengths together."""
    parts: list[list[Item]] = []
    for item in sorted(items, key=lambda i: i.length):
        if parts and item.length * (len(parts[-1]) + 1) <= tokens:
            parts[-1].append(item)
        else:
            parts.append([item])
    return parts
