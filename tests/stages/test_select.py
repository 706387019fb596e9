"""What must hold of select: the right candidate, counts over all rounds, tools run once, the rollout's end."""

import pytest

from sparkctl import tables
from sparkctl.episode import ACTIONS
from sparkctl.errors import SparkError
from sparkctl.stage import Context
from sparkctl.stages.select import STAGE, Select
from sparkctl.tools.settings import Tools
from support import FakeWorld, fork_rows, questions_table

TOOLS = Tools(descriptions={a: a for a in ACTIONS})
SETTINGS = Select(tools=TOOLS, steps=3)


def run(*states, settings=SETTINGS, steps=None, world=None):
    candidates, scores = ([r for s in states for r in s[i]] for i in (0, 1))
    inputs = {
        "candidates": tables.from_rows("candidates", candidates),
        "scores": tables.from_rows("scores", scores),
        "questions": questions_table(3),
    }
    if steps:
        inputs["steps"] = tables.from_rows("steps", steps)
    made = STAGE.run(inputs, settings, Context(tools=(world or FakeWorld()).tools))["steps"]
    return tables.check(made, "steps", "made").to_pylist()


def test_a_tool_is_run_and_its_observation_kept():
    world = FakeWorld()
    row = run(fork_rows("q1-s0", {"search": 7, "cot": 3}), world=world)[0]
    assert world.asked["tools"] == [{"tool_name": "search", "query": "ask search"}]
    wanted = {
        "tool_name": "search",
        "action_query": "ask search",
        "observation": "seen ask search",
        "observation_ok": True,
    }
    wanted |= {
        "chosen_score": 7.0,
        "best_score": 7.0,
        "viable": 1,
        "rule": "rarest_viable",
        "done": False,
        "is_correct": None,
    }
    assert {k: row[k] for k in wanted} == wanted


def test_usage_goes_on_from_the_rounds_before():
    world = FakeWorld()
    earlier = run(fork_rows("q1-s0", {"search": 9}), fork_rows("q2-s0", {"search": 9}), world=world)
    rows = run(
        fork_rows("q1-s0", {"search": 9, "static_kb": 6}, step_idx=2),
        fork_rows("q2-s0", {"search": 9, "static_kb": 6, "wikipedia": 6}, step_idx=2),
        settings=SETTINGS.model_copy(update={"step": 2}),
        steps=earlier,
    )
    assert [r["tool_name"] for r in rows] == ["static_kb", "wikipedia"]
    assert rows[0]["usage"][ACTIONS.index("search")] == 2
    assert rows[1]["usage"][ACTIONS.index("static_kb")] == 1


@pytest.mark.parametrize(
    ("answer", "letter", "correct"), [("2", "A", True), ("B", "B", False), ("nonsense", None, False)]
)
def test_an_answer_ends_the_rollout(answer, letter, correct):
    world = FakeWorld()
    row = run(fork_rows("q1-s0", {"cot": 10}, queries={"cot": f"so Answer: {answer}"}), world=world)[0]
    assert (row["done"], row["final_answer_parsed"], row["is_correct"]) == (True, letter, correct)
    assert world.asked["tools"] == []


def test_cot_without_an_answer_goes_on():
    row = run(fork_rows("q1-s0", {"cot": 10}))[0]
    assert (row["done"], row["observation"], row["is_correct"]) == (False, "continue", None)


def test_the_last_step_ends_the_rollout_unanswered_and_so_not_correct():
    row = run(fork_rows("q1-s0", {"search": 9}, step_idx=3), settings=SETTINGS.model_copy(update={"step": 3}))[0]
    assert (row["done"], row["final_answer_parsed"], row["is_correct"]) == (True, None, False)


def test_nothing_viable_takes_the_best_and_says_so_or_ends():
    best = run(fork_rows("q1-s0", {"search": 4, "cot": 5}))[0]
    assert (best["tool_name"], best["rule"], best["viable"]) == ("cot", "none_viable:best", 0)
    ended = run(fork_rows("q1-s0", {"search": 4}), settings=SETTINGS.model_copy(update={"when_none_viable": "end"}))[0]
    assert (ended["tool_name"], ended["done"], ended["error"]) == (None, True, "no score reaches the threshold 6.0")


def test_a_state_without_scores_ends_with_its_reason():
    row = run(fork_rows("q1-s0", {}))[0]
    assert (row["tool_name"], row["done"], row["is_correct"], row["error"]) == (
        None,
        True,
        False,
        "no candidate has a score",
    )


def test_a_tool_port_that_fails_is_an_observation_and_an_error():
    world = FakeWorld()
    world.fail = lambda port, request: "time out"
    row = run(fork_rows("q1-s0", {"search": 9}), world=world)[0]
    assert (row["observation"], row["observation_ok"], row["error"], row["done"]) == (
        "error: time out",
        False,
        "time out",
        False,
    )


def test_several_judges_are_averaged():
    candidates, scores = fork_rows("q1-s0", {"search": 10, "wikipedia": 7})
    second = [s | {"judge": "k", "score": {"search": 1, "wikipedia": 7}.get(s["tool_name"])} for s in scores]
    row = run((candidates, scores + second))[0]
    assert (row["tool_name"], row["chosen_score"]) == ("wikipedia", 7.0)


def test_candidates_of_another_step_are_refused():
    with pytest.raises(SparkError, match="candidates: are of step 2, not of step 1; give those of step 1, or another"):
        run(fork_rows("q1-s0", {"search": 7}, step_idx=2))


def test_candidates_without_a_row_in_scores_are_named():
    candidates, scores = fork_rows("q1-s0", {"search": 7})
    with pytest.raises(
        SparkError, match="scores: no row for rollout_id=q1-s0, step_idx=1, tool_name=cot; judge it first"
    ):
        run((candidates, scores[:-1]))
