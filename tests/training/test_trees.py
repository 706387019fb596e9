"""What must hold of a rollout as a prefix tree: every row is found again, what is shared is stored once."""

from hypothesis import given
from hypothesis import strategies as st

from sparkctl.training.trees import Action, Fork, Tree, distinguishing, lay_out

ROWS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=7), min_size=1, max_size=9)


def test_two_rows_with_a_common_beginning_by_hand():
    laid = lay_out([[7, 8, 9], [7, 8, 5, 6]], [0, 1])
    # In lexicographic order: 7 8 5 6, then 9 beside 5.
    assert laid.ids.tolist() == [7, 8, 5, 6, 9]
    assert laid.depth.tolist() == [0, 1, 2, 3, 2]
    assert laid.last.tolist() == [5, 5, 4, 4, 5]
    assert [p.tolist() for p in laid.predicting] == [[0, 1, 4], [1, 2, 3]]


@given(ROWS)
def test_every_row_is_read_back_along_its_ancestors(rows):
    laid = lay_out(rows, [0] * len(rows))
    for row, path in zip(rows, laid.predicting, strict=True):
        assert [laid.ids[i] for i in path] == row
        assert [laid.depth[i] for i in path] == list(range(len(row)))
        ancestors = [j for j in range(len(laid.ids)) if j <= path[-1] < laid.last[j]]
        assert ancestors == path.tolist(), "what the mask lets the last token see is its own row and nothing else"


@given(ROWS)
def test_nothing_that_is_shared_is_stored_twice(rows):
    prefixes = {tuple(row[: n + 1]) for row in rows for n in range(len(row))}
    assert len(lay_out(rows, [0] * len(rows)).ids) == len(prefixes)


def test_the_layout_of_a_rollout_stores_the_trunk_once_and_leaves_the_last_tokens_out():
    forks = (Fork([1, 2], (Action([3, 4]), Action([5]))), Fork([1, 2, 6], (Action([7, 8, 9]),)))
    tree = Tree("r", forks)
    # Rows that go in: 1 2 3, 1 2, 1 2 6 7 8; merged 1 2 3 6 7 8.
    assert sorted(tree.layout.ids) == [1, 2, 3, 6, 7, 8]
    assert tree.row_tokens == 3 + 2 + 5
    assert [len(places) for places in tree.layout.predicting] == [2, 1, 3]


def test_names_are_cut_to_what_tells_them_apart():
    assert distinguishing([[5, 1], [6, 7, 1], [6, 8, 1]]) == [[5], [6, 7], [6, 8]]
    assert distinguishing([[5]]) == [[5]]


def test_split_gives_one_tree_per_state():
    tree = Tree("r", (Fork([1], (Action([2]),)), Fork([1, 3], (Action([4]),))), ((9,),))
    parts = tree.split()
    assert [part.forks for part in parts] == [(tree.forks[0],), (tree.forks[1],)]
    assert {part.names for part in parts} == {((9,),)}
