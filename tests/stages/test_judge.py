"""What must hold of judge: every candidate ends with a score or a reason why not; votes are averaged; null is not zero."""

import json

import pytest

from helpers.tables_and_fakes import FakeWorld, questions_table
from sparkctl.errors import SparkError
from sparkctl.method import checks, judging, tables
from sparkctl.method.episode import ACTIONS
from sparkctl.method.ports import Reply
from sparkctl.stages.judge import STAGE, Judge
from sparkctl.stages.stage import Context

SETTINGS = Judge(model="m", prompt="the rubric")


def candidate(tool, rollout="q1-s0", **changes):
    row = {
        "rollout_id": rollout,
        "step_idx": 1,
        "tool_name": tool,
        "question_id": int(rollout[1]),
        "sample_id": 0,
        "policy": "p",
    }
    return row | {"thought": "t", "action_query": f"ask {tool}", "finish": "stop"} | changes


def run(rows, judge, settings=SETTINGS):
    inputs = {"candidates": tables.from_rows("candidates", rows), "questions": questions_table(3)}
    return STAGE.run(inputs, settings, Context(judge=judge))["scores"]


def answering(*contents):
    """A judge that gives these answers, one per request; an Exception stands for a failed call."""
    left = list(contents)

    def judge(requests):
        given = [left.pop(0) for _ in requests]
        return [Reply(None, str(g)) if isinstance(g, Exception) else Reply({"content": g}, None, 0.18) for g in given]

    return judge


def test_every_candidate_gets_its_own_score_and_share_of_the_cost():
    scores = {a: {"score": i, "reason": a[0]} for i, a in enumerate(ACTIONS)}
    table = run([candidate(a) for a in ACTIONS], answering(json.dumps(scores)))
    rows = checks.check(table, "scores", "made").to_pylist()
    assert [(r["tool_name"], r["score"], r["reason"]) for r in rows] == [
        (a, float(i), a[0]) for i, a in enumerate(ACTIONS)
    ]
    assert sum(r["cost_usd"] for r in rows) == pytest.approx(0.18)
    assert {r["judge"] for r in rows} == {"m"}


def test_votes_are_averaged_over_those_that_succeeded():
    answers = [json.dumps({"cot": {"score": s}}) for s in (4, 7)]
    table = run(
        [candidate("cot")],
        answering(answers[0], RuntimeError("down"), answers[1]),
        Judge(model="m", prompt="r", votes=3, max_failed=0.5),
    )
    row = table.to_pylist()[0]
    assert (row["score"], row["votes"], row["error"]) == (5.5, 2, None)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("no json here", "the judge's answer is not JSON"),
        ("{broken", "the judge's answer is not JSON"),
        ("[1]", "the judge's answer is not JSON"),
        ("{}", "the judge gave no score"),
        ('{"cot": 7}', "the judge gave no score"),
        ('{"cot": {"score": 11}}', "the judge's score 11 is not a number from 0 to 10"),
        ('{"cot": {"score": -1}}', "the judge's score -1 is not a number from 0 to 10"),
        ('{"cot": {"score": true}}', "the judge's score True is not a number from 0 to 10"),
        ('{"cot": {"score": "8"}}', "the judge's score '8' is not a number from 0 to 10"),
        ('{"cot": {"score": NaN}}', "the judge's score nan is not a number from 0 to 10"),
    ],
)
def test_an_answer_that_cannot_be_read_is_null_with_the_reason(content, error):
    row = run([candidate("cot")], answering(content)).to_pylist()[0]
    assert (row["score"], row["votes"], row["error"]) == (None, 0, error)
    assert judging.unreadable(content, ["cot"]) == error


def test_words_around_the_json_do_not_matter():
    row = run([candidate("cot")], answering('Sure:\n```json\n{"cot": {"score": 6.5}}\n```')).to_pylist()[0]
    assert (row["score"], row["error"]) == (6.5, None)


def test_a_failed_candidate_is_not_judged_and_keeps_its_error():
    world = FakeWorld()
    rows = [candidate("cot", error="too long", thought=None, action_query=None), candidate("search")]
    table = run(rows, world.judge)
    assert [(r["tool_name"], r["error"]) for r in table.to_pylist()] == [("cot", "too long"), ("search", None)]
    assert world.asked["judge"][0]["tools"] == ["search"]


def test_a_state_without_any_candidate_is_not_asked_about():
    world = FakeWorld()
    rows = [candidate(a, error="too long", thought=None, action_query=None) for a in ACTIONS] + [
        candidate("cot", "q2-s0")
    ]
    table = run(rows, world.judge)
    assert len(world.asked["judge"]) == 1
    assert [r["error"] for r in table.to_pylist()] == ["too long"] * 9 + [None]


@pytest.mark.parametrize(
    ("reference", "shown"), [("none", set()), ("answer", {"answer"}), ("solution", {"answer", "reference"})]
)
def test_the_judge_is_told_what_the_recipe_says(reference, shown):
    world = FakeWorld()
    run([candidate("cot")], world.judge, Judge(model="m", prompt="r", reference=reference))
    told = json.loads(world.asked["judge"][0]["messages"][1]["content"])
    assert told.keys() & {"answer", "reference"} == shown
    assert told["candidates"] == [{"tool_name": "cot", "action_query": "ask cot"}]


def test_candidates_are_shuffled_by_the_vote_and_lose_nothing():
    case = {"candidates": [{"tool_name": a} for a in ACTIONS]}
    orders = [
        [
            c["tool_name"]
            for c in json.loads(judging.messages("r", judging.shuffled(case, seed))[1]["content"])["candidates"]
        ]
        for seed in (1, 2, 1)
    ]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(ACTIONS)


def test_when_every_call_fails_the_stage_stops_with_the_first_error():
    lenient = Judge(model="m", prompt="r", max_failed=1.0)  # it changes nothing: no score would be in the table
    for settings in (SETTINGS, lenient):
        with pytest.raises(SparkError, match=r"^judge: 2 of 2 calls failed, the first with: no key; mend that"):
            run([candidate("cot"), candidate("cot", "q2-s0")], answering(*[RuntimeError("no key")] * 2), settings)


def test_when_too_many_calls_fail_the_stage_stops_and_says_what_to_do():
    answers = [RuntimeError("busy"), json.dumps({"cot": {"score": 4}})]
    with pytest.raises(
        SparkError,
        match=r"^judge: 1 of 2 calls failed, more than judge\.max_failed = 0\.02 allows, the "
        r"first with: busy; mend that and run again, what succeeded is remembered, or go on without them: "
        r"--set judge\.max_failed=1$",
    ):
        run([candidate("cot"), candidate("cot", "q2-s0")], answering(*answers))
    assert Judge(model="m", prompt="r", max_failed=1.0).identity() == Judge(model="m", prompt="r").identity()


def test_words_that_are_no_text_do_not_break_the_table():
    assert judging.read('{"cot": {"score": 5, "reason": "\\ud83d"}}', ["cot"])["cot"].reason == "?"


def test_a_question_that_is_not_there_is_named():
    with pytest.raises(SparkError, match="candidates: question_id 9 is not in the questions table"):
        run([candidate("cot", "q9-s0")], FakeWorld().judge)
