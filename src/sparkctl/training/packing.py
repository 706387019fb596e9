"""Batches: rollouts as tensors for one forward pass, packed as trees or, for reference, as padded rows.

Both say the same to the objective: which places of the model's output predict which trained tokens of which action.
Only those places go through the language-model head. An action's last token is a target but never an input.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import torch

from sparkctl.training.trees import Tree

Packing = Literal["tree", "rows"]
_ROWS_STEP = 64
"""Rows whose lengths differ by less than this are padded together."""


@dataclass(frozen=True)
class Batch:
    """What one forward pass needs and what its output means. Actions stand fork by fork, rollout by rollout."""

    ids: torch.Tensor
    """(sequence, position) token ids."""
    positions: torch.Tensor
    """(sequence, position): each token's place in its own row."""
    attention: Any
    """What the model takes as `attention_mask`."""
    keep: torch.Tensor | int
    """What the model takes as `logits_to_keep`: the places that predict a trained token. They are numbered in order."""
    where: torch.Tensor
    """(action, token): the kept place that predicts it."""
    targets: torch.Tensor
    """(action, token): the trained tokens, filled up with 0."""
    mask: torch.Tensor
    """(action, token): 1.0 where there is a trained token."""
    start: torch.Tensor
    """(action, token): log-prob under the frozen start; 0 where it was not given."""
    advantage: torch.Tensor
    """(action,)"""
    fork: torch.Tensor
    """(action,): number of its fork in the batch, from 0."""
    rollout: torch.Tensor
    """(action,): number of its rollout in the batch, from 0."""
    share: torch.Tensor
    """(action,): one over the number of trained actions of its fork: each state weighs the same."""
    states: torch.Tensor
    """(fork,): flat position, in (sequence, position), of the last token of the state."""
    reward: torch.Tensor
    """(fork,): of the executed action."""
    action_reward: torch.Tensor
    """(action,): of each trained action; watched, not trained on."""
    names: torch.Tensor | None = None
    """(fork, name, token): the kept place that predicts each token of a tool's name; None where that is not known."""
    name_targets: torch.Tensor | None = None
    """(name, token): those tokens, -1 where a name is shorter."""

    def to(self, device: torch.device | str) -> "Batch":
        """The same on another device."""
        moved = {k: v.to(device) for k, v in vars(self).items() if hasattr(v, "to")}
        return replace(self, **moved)

    @property
    def forks(self) -> int:
        """How many states."""
        return len(self.states)


def pack_tree(trees: Sequence[Tree], flex: torch.device | None = None) -> Batch:
    """Several rollouts as one sequence, what the rows of each share stored once. The mask is boolean and dense, or
    with `flex` a BlockMask for FlexAttention on that device. All trees must hold the same names."""
    laid, names = [tree.layout for tree in trees], trees[0].names
    begins = list(accumulate((len(layout.ids) for layout in laid[:-1]), initial=0))
    last = torch.cat([_whole(layout.last) + begin for layout, begin in zip(laid, begins, strict=True)])
    places = [_whole(p) + begin for layout, begin in zip(laid, begins, strict=True) for p in layout.predicting]
    keep, numbered = torch.unique(torch.cat(places), return_inverse=True)
    numbers = iter(numbered.split([len(p) for p in places]))
    acting: list[torch.Tensor] = []
    naming: list[torch.Tensor] = []
    for fork in (fork for tree in trees for fork in tree.forks):
        acting += [next(numbers) for _ in fork.actions]
        naming += [next(numbers) for _ in names]
    return Batch(
        ids=torch.cat([_whole(layout.ids) for layout in laid])[None],
        positions=torch.cat([_whole(layout.depth) for layout in laid])[None],
        attention=_dense_mask(last) if flex is None else _block_mask(last.to(flex)),
        keep=keep,
        states=keep[torch.stack([acting[i][0] for i in _firsts(trees)])],
        names=_padded(naming).unflatten(0, (-1, len(names))) if names else None,
        name_targets=_padded([torch.tensor(list(n)) for n in names], -1) if names else None,
        **_common_parts(trees, acting),
    )


def _whole(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).long()


def _firsts(trees: Sequence[Tree]) -> list[int]:
    """Of each fork: the number of its first action."""
    sizes = [len(fork.actions) for tree in trees for fork in tree.forks]
    return list(accumulate(sizes[:-1], initial=0))


def _dense_mask(last: torch.Tensor) -> torch.Tensor:
    """(1, 1, query, key), boolean: whether the key is an ancestor of the query, or itself."""
    query, key = torch.arange(len(last))[:, None], torch.arange(len(last))[None]
    mask: torch.Tensor = (key <= query) & (query < last[None])
    return mask[None, None]


def _block_mask(last: torch.Tensor) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    def ancestor(b: Any, h: Any, query: Any, key: Any) -> Any:
        return (key <= query) & (query < last[key])

    return create_block_mask(ancestor, None, None, len(last), len(last), device=str(last.device))


def pack_rows(trees: Sequence[Tree]) -> Batch:
    """Every action as a row of its own behind its whole state, padded on the left. The reference for `pack_tree`."""
    pairs = [(fork, action) for tree in trees for fork in tree.forks for action in fork.actions]
    width = max(len(fork.prompt_ids) + len(action.ids) - 1 for fork, action in pairs)
    tail = max(len(action.ids) for _, action in pairs)
    ids, attention = torch.zeros(len(pairs), width, dtype=torch.long), torch.zeros(len(pairs), width, dtype=torch.long)
    where = []
    for row, (fork, action) in enumerate(pairs):
        tokens = [*fork.prompt_ids, *action.ids[:-1]]
        ids[row, width - len(tokens) :] = torch.tensor(tokens)
        attention[row, width - len(tokens) :] = 1
        where.append(torch.arange(row * tail + tail - len(action.ids), (row + 1) * tail))
    ends, names = torch.stack([where[i][0] for i in _firsts(trees)]), trees[0].names
    decided_at_once = bool(names) and all(len(name) == 1 for name in names)
    return Batch(
        ids=ids,
        positions=(attention.cumsum(1) - 1).clamp(min=0),
        attention=attention,
        keep=tail,
        states=torch.div(ends, tail, rounding_mode="floor") * width + width - tail + ends % tail,
        names=ends[:, None, None].expand(-1, len(names), 1) if decided_at_once else None,
        name_targets=torch.tensor([list(name) for name in names]) if decided_at_once else None,
        **_common_parts(trees, where),
    )


def _common_parts(trees: Sequence[Tree], where: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """What does not depend on how the tokens are laid out."""
    forks = [fork for tree in trees for fork in tree.forks]
    actions = [action for fork in forks for action in fork.actions]
    sizes = torch.tensor([len(fork.actions) for fork in forks])
    fork = torch.repeat_interleave(torch.arange(len(forks)), sizes)
    of_fork = torch.tensor([number for number, tree in enumerate(trees) for _ in tree.forks])
    return {
        "where": _padded(where),
        "targets": _padded([torch.tensor(list(a.ids)) for a in actions]),
        "mask": _padded([torch.ones(len(a.ids)) for a in actions]),
        "start": _padded([torch.tensor(list(a.start) or [0.0] * len(a.ids)) for a in actions]),
        "advantage": torch.tensor([a.advantage for a in actions], dtype=torch.float32),
        "fork": fork,
        "rollout": of_fork[fork],
        "share": 1.0 / sizes[fork],
        "reward": torch.tensor([f.reward for f in forks], dtype=torch.float32),
        "action_reward": torch.tensor([a.reward for a in actions], dtype=torch.float32),
    }


def _padded(rows: Sequence[torch.Tensor], value: float = 0) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def micro_batches(trees: Sequence[Tree], tokens: int, packing: Packing, *, whole: bool) -> list[list[Tree]]:
    """The rollouts of an update cut into forward passes of at most `tokens` positions each, unless one alone is longer.

    `whole`: the objective looks across the steps of a rollout, so that no rollout may be cut into its states.
    """
    if packing == "tree":
        return _first_fit(list(trees), [len(tree.layout.ids) for tree in trees], tokens)
    units = list(trees) if whole else [part for tree in trees for part in tree.split()]
    return _of_like_length(units, tokens)


def _first_fit(trees: list[Tree], sizes: list[int], tokens: int) -> list[list[Tree]]:
    """Large ones first, each into the first batch that has room."""
    batches: list[list[int]] = []
    left: list[int] = []
    for i in sorted(range(len(trees)), key=lambda i: -sizes[i]):
        place = next((b for b, room in enumerate(left) if room >= sizes[i]), None)
        if place is None:
            batches.append([i])
            left.append(tokens - sizes[i])
        else:
            batches[place].append(i)
            left[place] -= sizes[i]
    return [[trees[i] for i in batch] for batch in batches]


def _of_like_length(units: list[Tree], tokens: int) -> list[list[Tree]]:
    """Units of like length together: a batch costs its rows times its longest row."""
    batches: list[list[Tree]] = []
    rows = 0
    shortest = 0
    for unit in sorted(units, key=lambda u: max(f.longest for f in u.forks)):
        longest, more = max(f.longest for f in unit.forks), len(unit.actions)
        if batches and longest * (rows + more) <= tokens and longest - shortest <= max(_ROWS_STEP, shortest // 8):
            batches[-1].append(unit)
            rows += more
        else:
            batches.append([unit])
            rows, shortest = more, longest
    return batches
