"""What must hold of select: the right candidate, counts over all rounds, tools run once, the rollout's end."""

import pytest

from helpers.tables_and_fakes import FakeWorld, fork_rows, questions_table
from sparkctl.config.settings import checked
from sparkctl.errors import SparkError
from sparkctl.method import checks, tables
from sparkctl.method.episode import ACTIONS
from sparkctl.stages.select import STAGE, Select
from sparkctl.stages.stage import Context
from sparkctl.tools.settings import Tools

TOOLS = Tools(descriptions={a: a for a in ACTIONS})
SETTINGS = Select(tools=TOOLS, steps=3)
PATIENT = SETTINGS.model_copy(update={"max_failed": 0.6})
LAST = SETTINGS.model_copy(update={"step": 3, "last_step": "answer"})


def run(*states, settings=SETTINGS, steps=None, world=None, warn=lambda line: None):
    candidates, scores = ([r for s in states for r in s[i]] for i in (0, 1))
    inputs = {
        "candidates": tables.from_rows("candidates", candidates),
        "scores": tables.from_rows("scores", scores),
        "questions": questions_table(3),
    }
    if steps:
        inputs["steps"] = tables.from_rows("steps", steps)
    made = STAGE.run(inputs, settings, Context(tools=(world or FakeWorld()).tools, warn=warn))["steps"]
    return checks.check(made, "steps", "made").to_pylist()


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
    assert ended["is_correct"] is False, "that was decided; no call failed"


@pytest.mark.parametrize(
    ("candidates", "score", "error"),
    [
        ({}, {}, "no candidate has a score"),
        ({}, {"error": "the judge is ill"}, "no candidate has a score: the judge is ill"),
        ({"error": "no answer", "action_query": None}, {"error": "no answer"}, "no answer"),
    ],
)
def test_an_outage_ends_the_rollout_neither_right_nor_wrong(candidates, score, error):
    state, scores = fork_rows("q1-s0", {})
    broken = [row | candidates for row in state], [row | score for row in scores]
    said = []
    row, other = run(broken, fork_rows("q2-s0", {"search": 7}), settings=PATIENT, warn=said.append)
    assert (row["tool_name"], row["done"], row["is_correct"], row["error"]) == (None, True, None, error)
    assert (other["tool_name"], other["error"]) == ("search", None)
    assert said == [
        f"1 of 2 states have no candidate with a score, 1 of them with: {error}; these rollouts end, neither right nor wrong"
    ]


def test_an_outage_at_the_last_step_is_no_unanswered_question():
    settings = PATIENT.model_copy(update={"step": 3})
    row, other = run(fork_rows("q1-s0", {}, 3), fork_rows("q2-s0", {"search": 7}, 3), settings=settings)
    assert (row["done"], row["is_correct"], other["done"], other["is_correct"]) == (True, None, True, False)


def test_too_many_states_without_a_score_end_the_stage_before_a_tool_runs():
    world = FakeWorld()
    with pytest.raises(
        SparkError,
        match=r"^select: 1 of 2 states have no candidate with a score, more than "
        r"select\.max_failed = 0\.02 allows, the first with: no candidate has a score; "
        r"`sparkctl select --retry-failed` asks policy and judge again, or go on without them: "
        r"--set select\.max_failed=1$",
    ):
        run(fork_rows("q1-s0", {}), fork_rows("q2-s0", {"search": 7}), world=world)
    assert world.asked["tools"] == []


ANSWER = {"cot": "Answer: 2"}
SPREAD = {"search": 9, "calculator": 7, "cot": 8}


@pytest.mark.parametrize(
    "changes", [{}, {"rule": "lowest_viable"}, {"rule": "best"}, {"rule": "softmax"}, {"cot_competes": False}]
)
def test_at_the_last_step_a_viable_answer_goes_before_every_tool(changes):
    states = fork_rows("q1-s0", SPREAD, 3, ANSWER), fork_rows("q2-s0", SPREAD, 3)
    one, two = run(*states, settings=LAST.model_copy(update=changes))
    assert (one["tool_name"], one["rule"], one["chosen_score"], one["is_correct"]) == (
        "cot",
        "last_step:answer",
        8.0,
        True,
    )
    assert one["viable"] == 3
    # Reasoning that answers nothing has no such right.
    assert two["rule"] == changes.get("rule", "rarest_viable")
    as_ever = run(*states, settings=LAST.model_copy(update=changes | {"last_step": "rule"}))
    assert as_ever[0]["rule"] == as_ever[1]["rule"] == two["rule"]


def test_before_the_last_step_an_answer_competes_as_ever():
    settings = LAST.model_copy(update={"step": 2})
    states = fork_rows("q1-s0", SPREAD, 2, ANSWER), fork_rows("q2-s0", SPREAD, 2, ANSWER)
    assert [row["tool_name"] for row in run(*states, settings=settings)] == ["search", "cot"]


@pytest.mark.parametrize(
    ("scores", "answer"),
    [
        ({"search": 9, "cot": 5.9}, "Answer: 2"),  # not viable
        ({"search": 9}, "Answer: 2"),  # not judged
        ({"search": 9, "cot": 8}, "Answer: none of these"),  # names no option
        ({"search": 9, "cot": 8}, "2"),  # commits to nothing
        ({"search": 5, "cot": 4}, "Answer: 2"),  # nothing is viable: the best
    ],
)
def test_what_is_no_viable_answer_is_passed_over_as_ever(scores, answer):
    row = run(fork_rows("q1-s0", scores, 3, {"cot": answer}), settings=LAST)[0]
    assert (row["tool_name"], row["is_correct"]) == ("search", False)


def test_an_answer_taken_first_is_counted_before_the_next_state_is_looked_at():
    states = fork_rows("q1-s0", SPREAD, 3, ANSWER), fork_rows("q2-s0", SPREAD, 3)
    assert run(*states, settings=LAST)[1]["usage"][ACTIONS.index("cot")] == 1


def test_settings_that_do_not_act_keep_their_keys():
    def key(**changes):
        return Select(tools=TOOLS, steps=3, **changes).identity()

    assert not {"last_step", "viable", "max_failed"} & key().keys()
    assert key(step=2, last_step="answer") == key(step=2)
    assert key(step=3, last_step="answer") == key(step=3) | {"last_step": "answer"}
    assert key(viable="above") == key() | {"viable": "above"}
    assert key(max_failed=1.0) == key()


def test_a_score_of_the_threshold_may_be_viable_or_not():
    above = SETTINGS.model_copy(update={"viable": "above"})
    state = fork_rows("q1-s0", {"search": 6, "wikipedia": 6.1})
    assert [run(state, settings=s)[0]["viable"] for s in (SETTINGS, above)] == [2, 1]
    ended = run(fork_rows("q1-s0", {"search": 6}), settings=above.model_copy(update={"when_none_viable": "end"}))[0]
    assert (ended["error"], ended["is_correct"]) == ("no score is above the threshold 6.0", False)
    with pytest.raises(SparkError, match=r'select: viable = "above" with threshold = 10: no score is above 10|select'):
        checked(Select, {"tools": TOOLS, "viable": "above", "threshold": 10.0}, "select")


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
