"""Log-probs of judged actions under the frozen start: old and reference policy of every objective, computed once."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from sparkctl.training import forward
from sparkctl.training.packing import Packing, micro_batches
from sparkctl.training.trees import Tree


@torch.inference_mode()
def logprobs(
    model: Any, trees: Sequence[Tree], tokens: int, packing: Packing, advance: Callable[[int], None]
) -> dict[tuple[str, int], list[list[float]]]:
    """(rollout, label of its fork) -> per action of the fork the natural log-prob of each of its tokens.

    At most `tokens` positions per forward pass; `advance(n)` after n more rollouts.
    """
    made: dict[tuple[str, int], list[list[float]]] = {}
    for part in micro_batches(trees, tokens, packing, whole=False):
        rows = iter(forward.score(model, forward.packed(model, part, packing)).logprobs.tolist())
        for tree in part:
            for fork in tree.forks:
                made[tree.rollout_id, fork.label] = [next(rows)[: len(action.ids)] for action in fork.actions]
        advance(len(part))
    return made
