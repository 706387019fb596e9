"""What must hold of rollouts: the state that steps lead to, and what counts as correct."""

import pytest

from helpers.tables_and_fakes import question, questions_table
from sparkctl.errors import SparkError
from sparkctl.method import rollouts, tables
from sparkctl.method.answers import Reading
from sparkctl.method.episode import Step


def test_the_letter_decides_where_the_index_contradicts_it():
    """MMLU-Pro 3983 has answer "C" and answer_index 1."""
    odd = question(1, answer="C", answer_index=1)
    assert rollouts.is_correct(odd, Reading("C", "letter"))
    assert not rollouts.is_correct(odd, Reading("B", "letter"))
    assert not rollouts.is_correct(odd, None)


def test_what_a_step_answers():
    assert rollouts.answer_of(question(1), "cot", "so Answer: 2") == ("2", Reading("A", "text"))
    assert rollouts.answer_of(question(1), "cot", "so Answer: what?") == ("what?", None)
    assert rollouts.answer_of(question(1), "search", "Answer: 2") == (None, None)


def test_live_rollouts_are_in_the_questions_order_with_their_steps_in_theirs():
    common = {
        "question_id": 2,
        "sample_id": 0,
        "thought": "t",
        "tool_name": "search",
        "observation": "o",
        "done": False,
    }
    rows = [common | {"rollout_id": "q2-s0", "step_idx": i, "action_query": str(i)} for i in (2, 1)]
    live = rollouts.live(questions_table(3), tables.from_rows("steps", rows), 1)
    assert [r.id for r in live] == ["q1-s0", "q2-s0", "q3-s0"]
    assert live[1].state.steps == (Step("t", "search", "1", "o"), Step("t", "search", "2", "o"))


def test_candidates_are_grouped_by_state_in_their_order():
    rows = [{"rollout_id": r, "step_idx": 1, "tool_name": t} for r, t in (("b", "cot"), ("a", "cot"), ("b", "search"))]
    groups = rollouts.states(tables.from_rows("candidates", rows))
    assert [[(c["rollout_id"], c["tool_name"]) for c in g] for g in groups] == [
        [("b", "cot"), ("b", "search")],
        [("a", "cot")],
    ]


def test_an_unknown_question_is_named():
    with pytest.raises(SparkError, match="steps: question_id 7 is not in the questions table"):
        rollouts.question_of({}, 7, "steps")
