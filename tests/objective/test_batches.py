"""What must hold of batches: every action token is a target once, no prompt token ever, and order is complete."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparkctl.objective.batches import Item, collate, epochs, micro_batches

tokens = st.lists(st.integers(1, 99), min_size=1, max_size=6)
items = st.lists(st.builds(Item, tokens, tokens, st.floats(-1, 1)), min_size=1, max_size=8)


@given(items)
def test_targets_are_exactly_the_action_tokens_and_are_predicted_from_the_place_before(given_items):
    batch = collate(given_items, pad=0)
    for row, item in enumerate(given_items):
        trained = batch.mask[row].bool()
        assert batch.targets[row][trained].tolist() == list(item.action_ids)
        following = batch.ids[row][batch.places[row][trained] + 1]
        assert following.tolist() == list(item.action_ids)
        assert batch.places[row][trained].min() == len(item.prompt_ids) - 1
        assert batch.attention[row].sum() == item.length


@given(items, st.integers(1, 4), st.integers(1, 3))
def test_every_step_is_trained_once_per_epoch(given_items, size, passes):
    seen = {}
    for epoch, batch in epochs(given_items, passes, size, seed=1):
        assert len(batch) <= size
        seen.setdefault(epoch, []).extend(batch)
    assert list(seen) == list(range(1, passes + 1))
    for batch in seen.values():
        assert sorted(map(repr, batch)) == sorted(map(repr, given_items))


@given(items, st.integers(1, 60))
def test_micro_batches_lose_nothing_and_keep_to_the_budget(given_items, budget):
    parts = micro_batches(given_items, budget)
    assert sorted(repr(i) for p in parts for i in p) == sorted(map(repr, given_items))
    for part in parts:
        assert len(part) == 1 or max(i.length for i in part) * len(part) <= budget


def test_epochs_are_shuffled_by_seed():
    many = [Item([1], [i], 0.0) for i in range(20)]
    orders = [[i.action_ids[0] for _, b in epochs(many, 2, 20, seed) for i in b] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:20] != orders[0][20:]


@pytest.mark.parametrize("pad", [0, 7])
def test_the_value_of_padding_does_not_show(pad):
    batch = collate([Item([1, 2], [3], 0.0), Item([1], [4], 0.0)], pad)
    assert batch.attention.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.ids[1, 2] == pad
    assert torch.equal(batch.advantage, torch.zeros(2))
