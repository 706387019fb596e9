"""Whether a model reads packed trees: the same log-probs as from padded rows, on the longest rollout there is.

A sliding window, ALiBi, a recurrent layer: what takes no mask of ours would compute something else without a word.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from sparkctl.training import forward
from sparkctl.training.packing import Packing
from sparkctl.training.trees import Fork, Tree

AGREE = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.05}
"""How far log-probs of trees and rows may differ, by precision: another order of summation, and no more."""
_ACTIONS = 2
"""Actions of a state that are compared: rows hold their whole prompt each, and memory is short."""


def difference(model: Any, trees: Sequence[Tree]) -> tuple[float, str]:
    """How far the log-probs of trees and rows lie apart, and in words. Infinite where the model refuses one of them."""
    sample = _sample(trees)
    try:
        with torch.no_grad():
            tree, rows = (_logprobs(model, sample, packing) for packing in ("tree", "rows"))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as fault:
        return float("inf"), (str(fault).splitlines() or [type(fault).__name__])[0]
    apart = float((tree - rows).abs().max())  # NaN stays NaN
    return apart, f"log-probs differ by {apart:.2g}"


def tolerated(model: Any, apart: float) -> bool:
    """Whether that is rounding; NaN is not."""
    return apart <= AGREE.get(model.dtype, AGREE[torch.bfloat16])


def agreed(model: Any, trees: Sequence[Tree], wanted: Packing, label: str, tell: Callable[[str], None]) -> Packing:
    """The packing to use; told why where it is not the one wanted."""
    if wanted != "tree" or not trees:
        return wanted
    apart, why = difference(model, trees)
    if tolerated(model, apart):
        return "tree"
    tell(refusal(label, why))
    return "rows"


def refusal(label: str, why: str) -> str:
    """The warning that trees are given up."""
    return (
        f"{label}: warning: this model does not read packed trees ({why}); going on with padded rows, several times "
        f"slower; set train.packing = 'rows' to silence this"
    )


def _sample(trees: Sequence[Tree]) -> list[Tree]:
    """The rollout with the longest row, and another: two in one sequence must not see each other."""
    order = sorted(trees, key=lambda tree: -max(fork.longest for fork in tree.forks))
    return [order[0], order[-1]] if len(order) > 1 else order


def _logprobs(model: Any, trees: Sequence[Tree], packing: Packing) -> torch.Tensor:
    """Of the first and the last state of each rollout, a few actions each; as a tree the whole rollout goes in."""
    if packing == "rows":
        few = [replace(tree, forks=tuple(_few(fork) for fork in _ends(tree))) for tree in trees]
        found = []
        for part in (part for tree in few for part in tree.split()):
            table = iter(forward.score(model, forward.packed(model, [part], "rows")).logprobs)
            found += [next(table)[: len(action.ids)] for action in part.actions]
        return torch.cat(found)
    table = iter(forward.score(model, forward.packed(model, trees, "tree")).logprobs)
    wanted = []
    for tree in trees:
        of = {fork.label: [next(table)[: len(action.ids)] for action in fork.actions] for fork in tree.forks}
        wanted += [lp for fork in _ends(tree) for lp in of[fork.label][:_ACTIONS]]
    return torch.cat(wanted)


def _ends(tree: Tree) -> tuple[Fork, ...]:
    return tree.forks if len(tree.forks) < 2 else (tree.forks[0], tree.forks[-1])


def _few(fork: Fork) -> Fork:
    return replace(fork, actions=fork.actions[:_ACTIONS])
