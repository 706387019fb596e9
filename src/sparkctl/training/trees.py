"""A rollout in tokens: its trunk (question, executed steps, observations) and the judged actions that fork from it.

Many rows share their beginnings: the nine actions of a state all of it, the states of a rollout most of it. `lay_out`
merges what is shared (a prefix tree), so that each shared token goes through the model once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Action:
    """A judged action in tokens: name, input, end of turn."""

    ids: Sequence[int]
    start: Sequence[float] = ()
    """Log-prob of each token under the frozen start: old and reference policy in one."""
    advantage: float = 0.0
    reward: float = 0.0
    """What the advantage was made of; watched, not trained on."""


@dataclass(frozen=True)
class Fork:
    """A state and the actions that are trained there."""

    prompt_ids: Sequence[int]
    """Everything before the action. Never carries loss."""
    actions: tuple[Action, ...]
    label: int = 0
    """Of the state: its step in the rollout."""
    reward: float = 0.0
    """Of the executed action; read by the critic only."""

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return len(self.prompt_ids) + max(len(action.ids) for action in self.actions)


@dataclass(frozen=True)
class Tree:
    """A rollout's forks in the order of its steps."""

    rollout_id: str
    forks: tuple[Fork, ...]
    names: Sequence[Sequence[int]] = ()
    """Beginnings of the tools' names that tell them apart: what they are likely to be in each state is watched too."""

    @property
    def actions(self) -> list[Action]:
        """All trained actions, fork by fork."""
        return [action for fork in self.forks for action in fork.actions]

    def split(self) -> list["Tree"]:
        """One tree per fork: what an objective that looks no further than a state may be cut into."""
        return [replace(self, forks=(fork,)) for fork in self.forks]

    @property
    def row_tokens(self) -> int:
        """Tokens that go through a model if every action is a row of its own. The last of each is never an input."""
        return sum(len(f.prompt_ids) + len(a.ids) - 1 for f in self.forks for a in f.actions)

    @cached_property
    def layout(self) -> "Layout":
        """The rollout with what its rows share merged: per fork a row for each action, then one for each name."""
        rows, begins = [], []
        for fork in self.forks:
            tails = [action.ids for action in fork.actions] + list(self.names)
            rows += [[*fork.prompt_ids, *tail[:-1]] for tail in tails]
            begins += [len(fork.prompt_ids) - 1] * len(tails)
        return lay_out(rows, begins)


@dataclass(frozen=True)
class Layout:
    """A prefix tree as one sequence, in depth-first order: what follows a token comes before what stands beside it.
    Arrays of int32: thousands of rollouts are held at once."""

    ids: np.ndarray
    depth: np.ndarray
    """Of each token: its position in its own row."""
    last: np.ndarray
    """Of each token: one past the end of what follows it. A token j is an ancestor of i, or i itself, exactly where
    j <= i < last[j]: the whole attention mask in one vector."""
    predicting: list[np.ndarray]
    """Per row, in the order given: where the tokens stand that predict its tail."""


def lay_out(rows: Sequence[Sequence[int]], begins: Sequence[int]) -> Layout:
    """Merge the common beginnings of rows; `begins` says from where on a row's places are wanted.

    Rows in lexicographic order meet their longest shared prefix in the row before.
    """
    ids: list[int] = []
    depth: list[int] = []
    last: list[int] = []
    predicting = [np.empty(0, np.int32)] * len(rows)
    path: list[int] = []
    before: Sequence[int] = ()
    for number in sorted(range(len(rows)), key=lambda i: list(rows[i])):
        row = rows[number]
        shared = _common(before, row)
        for left in path[shared:]:
            last[left] = len(ids)
        new = range(len(ids), len(ids) + len(row) - shared)
        ids += row[shared:]
        depth += range(shared, len(row))
        last += [0] * len(new)
        path[shared:] = new
        predicting[number] = np.array(path[begins[number] :], np.int32)
        before = row
    for left in path:
        last[left] = len(ids)
    return Layout(np.array(ids, np.int32), np.array(depth, np.int32), np.array(last, np.int32), predicting)


def _common(one: Sequence[int], two: Sequence[int]) -> int:
    """Length of the common beginning, by bisection: comparing slices is fast, a loop over tokens is not."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == two[low:middle] else (low, middle - 1)
    return low


def distinguishing(names: Sequence[Sequence[int]]) -> list[list[int]]:
    """Each name cut to the shortest beginning that no other shares: as many tokens as decide which it is."""
    return [
        list(name[: 1 + max((_common(name, other) for j, other in enumerate(names) if j != i), default=0)])
        for i, name in enumerate(names)
    ]
