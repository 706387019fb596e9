"""What must hold of the contract: each fault is named by file, column and remedy."""

import re

import pyarrow as pa
import pytest

from helpers.tables_and_fakes import question, questions_table
from sparkctl.errors import SparkError
from sparkctl.method import checks, tables


def faulty(change):
    return change(questions_table(3))


def replaced(table, name, values):
    return table.set_column(table.column_names.index(name), name, values)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.drop_columns(["options"]), "f.parquet: column 'options' is missing"),
        (lambda t: t.append_column("extra", pa.array([1, 2, 3])), "f.parquet: column 'extra' does not belong"),
        (
            lambda t: replaced(t, "answer_index", pa.array(["x", "y", "z"])),
            "column 'answer_index' is string, must be int64",
        ),
        (lambda t: replaced(t, "question", pa.array(["a", None, "c"])), "column 'question' is null in row 2"),
        (lambda t: replaced(t, "options", pa.array([["a"], ["b"], None])), "column 'options' is null in row 3"),
        (
            lambda t: replaced(t, "category", pa.array(["math", "law", "alchemy"])),
            "unknown category 'alchemy' in row 3",
        ),
        (lambda t: replaced(t, "question_id", pa.array([7, 8, 7])), "duplicate key question_id=7 (2 rows)"),
        (lambda t: t.slice(0, 0), "the questions table is empty"),
        (lambda t: t.append_column("src", t["src"]), "column 'src' occurs twice"),
    ],
)
def test_a_fault_is_named(change, says):
    with pytest.raises(SparkError) as fault:
        checks.check(faulty(change), "questions", "f.parquet")
    assert says in str(fault.value)


def test_a_good_table_passes_in_the_contracts_order_and_types():
    shuffled = questions_table(2).select(["src", *[c for c in questions_table(1).column_names if c != "src"]])
    shuffled = replaced(shuffled, "question_id", pa.array([1, 2], pa.int32()))
    assert checks.check(shuffled, "questions", "f").equals(questions_table(2))


def test_an_empty_table_passes_where_it_may_be_empty():
    assert len(checks.check(tables.empty("candidates"), "candidates", "f", may_be_empty=True)) == 0


def test_an_unknown_table_offers_the_nearest():
    with pytest.raises(SparkError, match="did you mean 'scores'"):
        tables.named("score")


@pytest.mark.parametrize("name", list(tables.TABLES))
def test_every_column_says_what_it_means(name):
    spec = tables.TABLES[name]
    assert all(column.meaning for column in spec.columns)
    assert set(spec.key) <= {c.name for c in spec.columns}


@pytest.mark.parametrize("score", [10.5, -1.0, float("nan")])
def test_a_score_out_of_bounds_is_refused(score):
    row = {"rollout_id": "q1-s0", "step_idx": 1, "tool_name": "cot", "judge": "j", "score": score, "votes": 1}
    with pytest.raises(SparkError, match="in row 1 is not a number from 0 to 10"):
        checks.check(tables.from_rows("scores", [row]), "scores", "f")
    assert len(checks.check(tables.from_rows("scores", [row | {"score": None}]), "scores", "f")) == 1


def test_a_null_inside_a_list_is_named():
    options = pa.array([["a", None], ["a", "b"], ["a", "b"]])
    with pytest.raises(SparkError, match="column 'options' has a null inside a list"):
        checks.check(replaced(questions_table(3), "options", options), "questions", "f")


def test_an_unknown_item_of_a_list_is_named_by_its_row():
    row = {"policy": "p", "sample_id": 0, "category": "math", "failed_calls": 0, "steps": 1, "output": ""}
    tools = [["cot", "search"], [], ["search", "hammer"]]
    rows = [row | {"question_id": i, "tools": t, "is_correct": True} for i, t in enumerate(tools)]
    with pytest.raises(SparkError, match="f: unknown tools 'hammer' in row 3; known are: calculator"):
        checks.check(tables.from_rows("answers", rows), "answers", "f")
    assert len(checks.check(tables.from_rows("answers", rows[:2]), "answers", "f")) == 2


def test_updates_made_before_there_was_a_reward_are_read():
    row = {"update": 1, "epoch": 1, "policy_loss": 0.0, "approx_kl": 0.0, "entropy": 0.0, "grad_norm": 0.0}
    older = tables.from_rows("updates", [row | {"lr": 0.0, "tokens": 1}]).drop_columns(["reward"])
    assert checks.check(older, "updates", "made")["reward"].to_pylist() == [None]


WORDS, LISTS = ["1", "2", "3"], [["a", "b"], ["c", "d"], ["e", "f"]]
COLUMNS = [
    *(pa.array(WORDS, kind) for kind in (pa.string_view(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))),
    *(pa.array([b"\xff", b"b", b"c"], kind) for kind in (pa.binary(), pa.binary_view(), pa.large_binary())),
    *(pa.array(LISTS, kind(pa.string())) for kind in (pa.list_, pa.large_list, pa.list_view, pa.large_list_view)),
    *(pa.array(LISTS, pa.list_(kind)) for kind in (pa.string_view(), pa.dictionary(pa.int32(), pa.string()))),
    pa.array(LISTS, pa.list_(pa.string(), 2)),
    pa.array([LISTS] * 3),
    pa.array([[{"a": "b"}]] * 3),
    pa.array([{"a": "b"}] * 3),
    pa.array([[("a", "b")]] * 3, pa.map_(pa.string(), pa.string())),
    *(pa.array([1, 2, 3]).cast(kind) for kind in (pa.float16(), pa.uint64(), pa.decimal128(20, 0), pa.timestamp("s"))),
    pa.array([float("nan"), float("inf"), 1.5]),
    pa.array([True, False, True]),
    pa.nulls(3),
]


@pytest.mark.parametrize("values", COLUMNS, ids=lambda values: str(values.type))
@pytest.mark.parametrize("column", ["question_id", "question", "options", "category", "answer_index"])
@pytest.mark.parametrize("with_a_null", [True, False])
def test_a_column_of_any_type_is_cast_or_refused_in_one_line(values, column, with_a_null):
    if with_a_null:
        values = pa.array([None, *values.to_pylist()[1:]], values.type)
    odd = replaced(questions_table(3), column, values)
    said = ""
    try:
        checks.check(odd, "questions", "F").validate(full=True)
    except SparkError as refused:
        said = str(refused)
    assert re.fullmatch(f"F: .*{column}.*" if with_a_null else f"(F: .*{column}.*)?", said), said


def test_half_of_a_surrogate_pair_becomes_a_question_mark():
    """As JSON may bring it: a judge's reason, an observation."""
    rows = [question(1, question="a\ud800b", options=["\udfff", "x"]), question(2)]
    table = checks.check(tables.from_rows("questions", rows), "questions", "F")
    assert table["question"].to_pylist() == ["a?b", "what is 2 + 1?"]
    assert table["options"].to_pylist()[0] == ["?", "x"]
