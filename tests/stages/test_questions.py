"""What must hold of drawing questions: balanced, clean, never twice, never in training and evaluation both."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.tables_and_fakes import SHARED, question
from sparkctl.errors import SparkError
from sparkctl.method import checks, tables
from sparkctl.method.episode import CATEGORIES
from sparkctl.method.rollouts import content
from sparkctl.stages.questions import STAGE, Questions
from sparkctl.stages.stage import Context
from sparkctl.storage import files

MMLU = SHARED / "mmlu_pro" / "test.parquet"
VALIDATION = SHARED / "mmlu_pro" / "validation.parquet"


def run(rows=None, taken=None, **settings):
    inputs = (
        {} if rows is None else {"source": rows if isinstance(rows, pa.Table) else tables.from_rows("questions", rows)}
    )
    if taken is not None:
        inputs["questions"] = taken
    made = STAGE.run(inputs, Questions(**({"source": "file"} | settings)), Context())["questions"]
    return checks.check(made, "questions", "made")


def test_blanks_around_options_are_taken_off_and_the_answer_stays():
    row = run([question(1, options=["a", " b", "c "], answer="B", answer_index=1)]).to_pylist()[0]
    assert (row["options"], row["answer"], row["answer_index"]) == (["a", "b", "c"], "B", 1)


def test_padding_is_dropped_and_the_answer_moves_with_it():
    row = run([question(1, options=["a", "N/A", "c", "N/A"], answer="C", answer_index=2)]).to_pylist()[0]
    assert (row["options"], row["answer"], row["answer_index"]) == (["a", "c"], "B", 1)


def test_the_letter_counts_where_the_index_contradicts_it():
    assert run([question(1, answer="C", answer_index=1)]).to_pylist()[0]["answer_index"] == 2


def test_a_question_whose_answer_is_no_option_is_left_out():
    assert run([question(1), question(2, answer="J"), question(3, answer="")])["question_id"].to_pylist() == [1]


def test_exact_duplicates_count_once_whatever_their_blanks_and_order_of_options():
    twin = question(
        9, question="what is  1 + 1? ", options=["0", "-7", "2", "1"], answer="C", category=question(1)["category"]
    )
    assert len(run([question(1), twin])) == 1


def test_any_prefix_is_balanced_over_the_categories():
    rows = [question(i) for i in range(14 * 5)]
    drawn = run(rows, limit=28)["category"].to_pylist()
    assert [drawn.count(c) for c in CATEGORIES] == [2] * 14
    assert sorted(drawn[:14]) == sorted(CATEGORIES)


def test_the_seed_decides_which_and_in_which_order():
    rows = [question(i) for i in range(140)]
    one, same, other = (run(rows, limit=28, seed=s)["question_id"].to_pylist() for s in (1, 1, 2))
    assert one == same != other


def test_only_the_categories_asked_for():
    assert set(run([question(i) for i in range(28)], categories=("law", "math"))["category"].to_pylist()) == {
        "law",
        "math",
    }
    with pytest.raises(SparkError, match="unknown category 'lwa'; did you mean 'law'"):
        run([question(1)], categories=("lwa",))


def test_evaluation_leaves_out_what_training_holds():
    rows = [question(i) for i in range(20)]
    train = run(rows, limit=8)
    rest = run(rows, taken=train, role="eval_questions", exclude=True)
    assert len(rest) == 12
    assert not {content(q) for q in train.to_pylist()} & {content(q) for q in rest.to_pylist()}


def test_overlap_of_two_files_is_refused_with_its_count():
    with pytest.raises(SparkError, match=r"5 of 10 questions are in synth\.questions too"):
        run([question(i) for i in range(10)], taken=run([question(i) for i in range(5)]), role="eval_questions")


def test_nothing_left_is_said():
    with pytest.raises(SparkError, match="no question is left for eval_questions"):
        run([question(1)], taken=run([question(1)]), role="eval_questions", exclude=True)


def test_the_generator_gives_both_sides_apart():
    train, test = (run(source="nano", limit=140, role=role) for role in ("questions", "eval_questions"))
    assert len(train) == len(test) == 140
    assert not {content(q) for q in train.to_pylist()} & {content(q) for q in test.to_pylist()}
    assert [train["category"].to_pylist().count(c) for c in CATEGORIES] == [10] * 14


def test_the_generator_can_be_asked_for_one_category():
    drawn = run(source="nano", limit=20, categories=("math",))
    assert (len(drawn), set(drawn["category"].to_pylist())) == (20, {"math"})


@pytest.mark.skipif(not MMLU.exists(), reason="shared/data/mmlu_pro is not here")
def test_the_faults_of_the_real_mmlu_pro_survive():
    source = files.read_table(MMLU, "questions")
    drawn = {q["question_id"]: q for q in run(source).to_pylist()}
    raw = {q["question_id"]: q for q in pq.read_table(MMLU).to_pylist()}
    assert len(raw) == 12_032
    assert not any(o != o.strip() for q in drawn.values() for o in q["options"])
    assert sum(o != o.strip() for q in raw.values() for o in q["options"]) > 475
    assert (drawn[3983]["answer"], drawn[3983]["answer_index"], raw[3983]["answer_index"]) == ("C", 2, 1)
    assert len({content(q) for q in drawn.values()}) == len(drawn) < len(raw) - 100
    for q in drawn.values():
        assert (
            q["options"][q["answer_index"]]
            == raw[q["question_id"]]["options"][ord(raw[q["question_id"]]["answer"]) - 65].strip()
        )


@pytest.mark.skipif(not VALIDATION.exists(), reason="shared/data/mmlu_pro is not here")
def test_the_validation_sets_padding_is_dropped():
    drawn = run(files.read_table(VALIDATION, "questions"))
    assert len(drawn) == 70
    assert not any("N/A" in q["options"] for q in drawn.to_pylist())
