"""What must hold of batches: every action token is a target once, no prompt token ever, and order is complete."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkctl.objective.batches import Item, collate, epochs, micro_batches

tokens = st.lists(st.integers(1, 99), min_size=1, max_size=6)
items = st.lists(st.builds(Item, tokens, tokens, st.floats(-1, 1)), min_size=1, max_size=8)


@given(items)
def test_targets_are_exactly_the_action_tokens_at_the_end_of_each_row(given_items):
    batch = collate(given_items, pad=0)
    for row, item in enumerate(given_items):
        assert batch.targets[row][batch.mask[row].bool()].tolist() == list(item.action_ids)
        present = batch.attention[row].bool()
        assert batch.ids[row][present].tolist() == [*item.prompt_ids, *item.action_ids]
        assert batch.positions[row][present].tolist() == list(range(item.length))
        assert batch.attention[row].tolist() == sorted(batch.attention[row].tolist()), "padding stands on the left"


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
def test_a_batch_by_hand(pad):
    batch = collate([Item([1, 2], [3], 0.5), Item([1], [4], 0.0)], pad)
    assert batch.ids.tolist() == [[1, 2, 3], [pad, 1, 4]]
    assert batch.attention.tolist() == [[1, 1, 1], [0, 1, 1]]
    assert batch.targets.tolist() == [[3], [4]]
    assert batch.advantage.tolist() == [0.5, 0.0]
