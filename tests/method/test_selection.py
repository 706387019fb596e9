"""What must hold of the selection rules: hand-made cases, and equality with the rule written naively."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkctl.method.episode import ACTIONS, COT
from sparkctl.method.selection import NONE, select

N = len(ACTIONS)
COT_INDEX = ACTIONS.index(COT)
rows = st.lists(
    st.lists(st.one_of(st.just(float("nan")), st.integers(0, 10).map(float)), min_size=N, max_size=N),
    min_size=1,
    max_size=12,
)


def scores(*given_rows):
    """Rows as {action index: score}; the rest are not judged."""
    table = np.full((len(given_rows), N), np.nan)
    for i, row in enumerate(given_rows):
        for action, score in row.items():
            table[i, action] = score
    return table


def choose(table, rule="rarest_viable", usage=None, **options):
    counts = np.zeros(N, np.int64) if usage is None else np.array(usage)
    return select(np.array(table, dtype=float), counts, rule=rule, threshold=options.pop("threshold", 6.0), **options)


def test_rarest_takes_the_least_used_and_counts_as_it_goes():
    state = {0: 9, 1: 8, 2: 7}
    picked = choose(scores(state, state, state, state), usage=[1, 0, 0, 0, 0, 0, 0, 0, 0])
    # 1 and 2 are both unused: the higher score first, then the other, then all have one use and 0 scores highest.
    assert picked.chosen.tolist() == [1, 2, 0, 1]
    assert picked.usage[:, :3].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [2, 1, 1]]


def test_a_score_at_the_threshold_is_viable_and_one_below_is_not():
    picked = choose(scores({0: 6.0, 1: 5.999}))
    assert picked.chosen.tolist() == [0]
    assert picked.viable.tolist() == [1]


def test_above_leaves_the_threshold_out():
    table = scores({0: 6.0, 1: 6.25}, {0: 6.0, 2: 3.0})
    picked = choose(table, rule="lowest_viable", viable="above")
    assert picked.chosen.tolist() == [1, 0]  # of the second state nothing is viable: the best
    assert picked.viable.tolist() == [1, 0]
    assert choose(table, rule="lowest_viable").chosen.tolist() == [0, 0]


@pytest.mark.parametrize("rule", ["rarest_viable", "lowest_viable", "best", "softmax"])
@pytest.mark.parametrize("cot_competes", [True, False])
def test_an_answer_goes_before_tools_under_every_rule(rule, cot_competes):
    state = {0: 9, 1: 6, COT_INDEX: 8}
    picked = choose(
        scores(state, state, state | {COT_INDEX: 5}),
        rule=rule,
        usage=[0] * 8 + [99],
        answers=np.array([True, False, True]),
        cot_competes=cot_competes,
    )
    assert picked.answered.tolist() == [True, False, False]
    assert picked.chosen[0] == COT_INDEX
    assert picked.usage[1, COT_INDEX] == 100
    # The others as if there were no answers, after what was taken before them.
    alone = choose(scores(state, state | {COT_INDEX: 5}), rule=rule, usage=[0] * 8 + [100], cot_competes=cot_competes)
    assert rule == "softmax" or picked.chosen[1:].tolist() == alone.chosen.tolist()


def test_lowest_viable_takes_the_lowest_score_that_passes():
    assert choose(scores({0: 9, 3: 6, 4: 6, 5: 5}), rule="lowest_viable").chosen.tolist() == [3]


def test_best_takes_the_highest_and_ties_go_by_action_order():
    assert choose(scores({2: 8, 1: 9, 4: 9}), rule="best").chosen.tolist() == [1]


def test_softmax_draws_among_the_viable_in_proportion():
    table = np.tile(scores({0: 8, 1: 7, 2: 3}), (20_000, 1))
    picked = choose(table, rule="softmax", temperature=1.0, seed=3).chosen
    share = np.bincount(picked, minlength=N) / len(picked)
    # exp(8) : exp(7) = e : 1, so 0.7311 and 0.2689; three standard errors of 20,000 draws are 0.0094.
    assert share[0] == pytest.approx(0.7311, abs=0.0095)
    assert share[1] == pytest.approx(0.2689, abs=0.0095)
    assert share[2] == 0
    assert (picked == choose(table, rule="softmax", seed=3).chosen).all()


@pytest.mark.parametrize("rule", ["rarest_viable", "lowest_viable", "best", "softmax"])
def test_where_nothing_is_viable_the_best_is_taken_or_nothing(rule):
    table = scores({2: 5, 3: 1}, {})
    assert choose(table, rule=rule, when_none_viable="best").chosen.tolist() == [2, NONE]
    assert choose(table, rule=rule, when_none_viable="end").chosen.tolist() == [NONE, NONE]


def test_a_fallback_choice_is_counted():
    table = scores({2: 5}, {2: 9, 3: 9})
    assert choose(table).chosen.tolist() == [2, 3]


def test_cot_that_does_not_compete_is_taken_only_where_no_tool_is_viable():
    table = scores({COT_INDEX: 10, 0: 6}, {COT_INDEX: 10, 0: 5})
    assert choose(table, rule="best", cot_competes=True).chosen.tolist() == [COT_INDEX, COT_INDEX]
    assert choose(table, rule="best", cot_competes=False).chosen.tolist() == [0, COT_INDEX]


@given(
    rows,
    st.lists(st.integers(0, 5), min_size=N, max_size=N),
    st.booleans(),
    st.sampled_from(["best", "end"]),
    st.sampled_from(["at_least", "above"]),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_rarest_equals_the_rule_written_naively(table, usage, cot_competes, none_viable, kind, answering):
    table, answers = np.array(table), np.array(answering[: len(table)])
    picked = choose(
        table, usage=usage, cot_competes=cot_competes, when_none_viable=none_viable, viable=kind, answers=answers
    )
    counts = list(usage)
    for i, row in enumerate(table):
        assert picked.usage[i].tolist() == counts
        viable = [a for a in range(N) if row[a] > 6 or (row[a] == 6 and kind == "at_least")]
        assert picked.viable[i] == len(viable)
        if not cot_competes and any(a != COT_INDEX for a in viable):
            viable = [a for a in viable if a != COT_INDEX]
        if answers[i] and row[COT_INDEX] >= (6 if kind == "at_least" else 6.5):
            viable = [COT_INDEX]
        judged = [a for a in range(N) if not np.isnan(row[a])]
        if viable:
            wanted = min(viable, key=lambda a: (counts[a], -row[a], a))
        elif none_viable == "best" and judged:
            wanted = min(judged, key=lambda a: (-row[a], a))
        else:
            wanted = NONE
        assert picked.chosen[i] == wanted
        if wanted != NONE:
            counts[wanted] += 1


@given(rows, st.sampled_from(["lowest_viable", "best", "softmax"]))
def test_rules_without_memory_do_not_depend_on_the_other_states(table, rule):
    if rule == "softmax":
        return
    table = np.array(table)
    alone = [int(choose(table[i : i + 1], rule=rule).chosen[0]) for i in range(len(table))]
    assert choose(table, rule=rule).chosen.tolist() == alone


def test_no_states_give_no_choices():
    assert len(choose(np.empty((0, N))).chosen) == 0
