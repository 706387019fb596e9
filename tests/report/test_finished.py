"""What must hold of outages in figures: as many as there may be, they move none but the one that counts them."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.finished_runs import kept, rollouts, sampled, whole
from sparkctl.errors import SparkError
from sparkctl.method import checks, tables
from sparkctl.method.episode import ACTIONS, CATEGORIES
from sparkctl.report import write
from sparkctl.report.figures import conditional, diversity
from sparkctl.report.figures.comparison import compare
from sparkctl.report.figures.finished import finished
from sparkctl.report.figures.passing import passing
from sparkctl.report.figures.summary import summarise

NAMES = ("a", "b")
LETTER = {True: "A", False: "B"}


def lose(answers, rows, old=False):
    """The same table with a failed call in these rows; `old`: as eval up to version 3 wrote it."""
    changed = [
        row | ({"is_correct": False if old else None, "answer": None, "error": "down"} if i in rows else {})
        for i, row in enumerate(answers.to_pylist())
    ]
    return checks.check(tables.from_rows("answers", changed), "answers", "by hand")


def figures(answers):
    """Everything that is said of one policy, as JSON, without the count of outages."""
    said = summarise(answers).as_json() | diversity.as_json(answers)
    return json.loads(json.dumps(said | {"errors": 0}, default=float))


one_answer = st.tuples(st.booleans(), st.lists(st.sampled_from(ACTIONS), max_size=3))


@settings(deadline=None, max_examples=20)
@given(st.lists(one_answer, min_size=2, max_size=8), st.data())
def test_with_one_sample_each_outages_move_no_figure(given_answers, data):
    """A question whose only answer was lost is as one that was not asked."""
    table = sampled(*([answer] for answer in given_answers), category=lambda q: CATEGORIES[q % 3])
    lost = data.draw(st.sets(st.integers(0, len(table) - 1), max_size=len(table) - 1))
    left = table.filter(pa.array([i not in lost for i in range(len(table))]))
    for old in (False, True):
        broken = lose(table, lost, old)
        assert figures(broken) == figures(left)
        assert summarise(broken).errors == len(lost)
        assert finished(broken)["question_id"].equals(left["question_id"])


def test_the_answers_of_a_question_that_came_stand_for_it():
    """Four samples each. By hand: 1 of 2 and 3 of 4 right; pass@4 and the vote of the second question's four."""
    first = [(True, ["search"], "A"), (False, ["search"], "B"), (True, ["cot"], "A"), (True, ["cot"], "A")]
    second = [(True, [], "A"), (True, [], "A"), (False, [], "B"), (True, [], "A")]
    found = lose(sampled(first, second), {2, 3})
    assert summarise(found).accuracy.value == 4 / 6
    passed = {name: e.value for name, e in passing(found).items()}
    # Of a choice of two of the first's two answers one is right; of the second's four each two hold one.
    assert passed == {
        "pass@1": pytest.approx((1 / 2 + 3 / 4) / 2),
        "pass@2": 1.0,
        "pass@4": 1.0,
        "majority_vote": 1.0,
    }
    assert passing(lose(sampled(first, second), {0, 2, 3}))["majority_vote"].value == 0.5
    # Where all of a question's are lost it is in none of them; where of no question k are left there is no pass@k.
    assert passing(lose(sampled(first, second), {0, 1, 2, 3}))["pass@1"].value == 3 / 4
    assert list(passing(lose(sampled(first, second), {0, 4}))) == ["pass@1", "pass@2", "majority_vote"]


def test_pairs_are_of_questions_answered_under_both():
    # By hand: questions 1 to 4; b loses 2, a loses 3; of 1 and 4 one is gained.
    a = sampled(*([(right, ["search"])] for right in (False, True, True, True)))
    b = sampled(*([(right, ["cot"])] for right in (True, False, False, True)))
    found = compare(lose(a, {2}), lose(b, {1}), NAMES, 100)
    assert (found.accuracy.n, found.left_out, found.accuracy.a, found.accuracy.b) == (2, 2, 0.5, 1.0)
    assert (found.accuracy.only_a, found.accuracy.only_b, found.averaged) == ([], [1], False)
    assert found.discordance == 0.5
    assert sum(part.n for part in found.categories.values()) == 2
    old = compare(lose(a, {2}, old=True), lose(b, {1}, old=True), NAMES, 100)
    assert old == found
    some = compare(a.take([0, 3]), b.take([0, 3]), NAMES, 100)
    assert found.as_json() == some.as_json() | {"left_out": 2}


def test_a_category_without_a_pair_is_not_compared():
    a, b = (sampled([(True, [])], [(False, [])], category=lambda q: CATEGORIES[q]) for _ in NAMES)
    assert list(compare(lose(a, {0}), b, NAMES, 100).categories) == [CATEGORIES[2]]


def test_samples_that_are_left_are_averaged():
    a = sampled([(True, []), (False, [])], [(True, []), (True, [])])
    found = compare(a, lose(a, {1, 2}), NAMES, 100)
    assert (found.accuracy.a, found.accuracy.b, found.averaged) == (0.75, 1.0, True)


def test_without_any_pair_there_is_no_comparison():
    a = sampled([(True, [])], [(True, [])])
    with pytest.raises(
        SparkError,
        match=r"a and b: failed calls \('is_correct' is null\) left no question answered under both; evaluate",
    ):
        compare(lose(a, {0}), lose(a, {1}), NAMES, 100)


def test_seeds_leave_lost_answers_out_and_keep_their_questions_in_order():
    table = sampled([(True, ["search"])], [(False, ["cot"])], [(True, ["search"])])
    counts = conditional.counted(lose(table, {0}), {1: "x", 2: "y", 3: "y"}, ("x", "y"))
    assert (counts.correct.tolist(), counts.asked.tolist()) == ([0, 0, 1], [0, 1, 1])
    assert counts.tools.sum((1, 2)).tolist() == [0, 1, 1]
    sums = conditional.summed([counts], [np.ones((1, 3))])
    assert conditional.MEASURES["accuracy"](sums).tolist() == [0.5]


def run_of(tmp_path, **made):
    return write._gathered(kept(tmp_path, whole(n=8) | made))


def test_the_report_tells_lost_rollouts_from_wrong_ones(tmp_path):
    from sparkctl.report.findings import Findings
    from sparkctl.report.rollout_browser import rollouts as walked

    made = dict(rollouts(8))
    ends = made["steps.2"].to_pylist()
    # Of eight that ended, the first right and the second wrong become lost; the third goes unanswered.
    nothing = dict.fromkeys(
        ("tool_name", "thought", "action_query", "observation", "chosen_score", "final_answer_parsed")
    )
    for row in ends[:2]:
        row |= nothing | {"is_correct": None, "error": "down"}
    ends[2] |= {"final_answer_parsed": None, "is_correct": False}
    made["steps.2"] = tables.from_rows("steps", ends)
    run = run_of(tmp_path, **made)
    assert [r["outcome"] for r in walked(run)[:4]] == ["a call failed", "a call failed", "no answer", "wrong"]
    found = Findings.of(run).as_json()
    second = found["rounds"][1]
    assert (second["ended"], second["right"], second["lost"]) == (8, 2, 2)
    judged = [row for row in found["judged_outcomes"] if row["scores_of"] == "all steps"]
    assert sum(row["rollouts"] for row in judged) == 6


def test_the_report_goes_by_the_answers_that_came(tmp_path):
    from sparkctl.report.findings import Findings

    made = whole(n=8)
    lost = {
        f"answers.{p}": lose(made[f"answers.{p}"], set(range(100, 200)), old=p == "base") for p in ("base", "spark")
    }
    half = {name: table.slice(0, 100) for name, table in made.items() if name in lost}
    found, left = (Findings.of(run_of(tmp_path / k, **t)).as_json() for k, t in (("a", lost), ("b", half)))
    counts = {row["policy"]: (row["n"], row["errors"]) for row in found["headline"]}
    assert counts == {"base": (100, 100), "spark": (100, 100), "sft_best": (200, 0)}

    def told(figures, panel):
        return [
            {k: v for k, v in row.items() if k != "errors"} for row in figures[panel] if row["policy"] != "sft_best"
        ]

    for panel in ("headline", "categories", "tool_mix", "tool_mix_by_step", "diversity", "tool_use", "effort"):
        assert told(found, panel) == told(left, panel), panel


def test_a_policy_that_never_answered_is_left_out_of_the_report(tmp_path):
    made = whole(n=8)
    run = run_of(tmp_path, **{"answers.spark": lose(made["answers.spark"], set(range(200)))})
    assert list(run.summaries) == ["base", "sft_best"]
    assert list(run.comparisons) == ["sft_best"]
