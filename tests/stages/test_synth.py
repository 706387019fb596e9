"""What must hold of synth: nine rows per live rollout, forced actions, failures as rows, finished rollouts left alone."""

import pytest

from helpers.tables_and_fakes import FakeWorld, question, questions_table, step_row
from sparkctl.errors import SparkError
from sparkctl.method import checks, tables
from sparkctl.method.episode import ACTIONS
from sparkctl.stages.stage import Context
from sparkctl.stages.synth import STAGE, Synth

SETTINGS = Synth(policy="p", prompt="Use:\n{tools}", descriptions={a: f"does {a}" for a in ACTIONS}, samples=2)


def run(inputs, settings=SETTINGS, world=None):
    world = world or FakeWorld()
    return STAGE.run(inputs, settings, Context(policy=lambda adapter: world.policy))["candidates"], world


def test_every_rollout_gets_its_nine_candidates_in_order():
    table, _ = run({"questions": questions_table(3)})
    assert len(checks.check(table, "candidates", "made")) == 3 * 2 * 9
    assert table["tool_name"].to_pylist() == list(ACTIONS) * 6
    assert list(dict.fromkeys(table["rollout_id"].to_pylist())) == [
        "q1-s0",
        "q1-s1",
        "q2-s0",
        "q2-s1",
        "q3-s0",
        "q3-s1",
    ]


def test_the_thought_is_asked_once_and_the_nine_go_on_from_its_tokens():
    _, world = run({"questions": questions_table(1)}, SETTINGS.model_copy(update={"samples": 1}))
    thought, candidates = world.asked["policy"]
    assert thought["stop"] == ["\nAction:"]
    assert candidates["turn"] == [{"text": "Thought:"}, {"text": " a thought", "ids": [1, 2, 3]}, {"text": "\nAction:"}]
    assert candidates["forced"] == [f" {a}\nInput:" for a in ACTIONS]
    assert (thought["temperature"], candidates["temperature"]) == (1.0, 0.0)


def test_the_prompt_lists_every_action():
    _, world = run({"questions": questions_table(1)})
    system = world.asked["policy"][0]["messages"][0]["content"]
    assert system == "Use:\n" + "\n".join(f"- {a}: does {a}" for a in ACTIONS)


def test_samples_of_a_question_differ_in_their_seed_only():
    _, world = run({"questions": questions_table(1)})
    one, two = world.asked["policy"][:2]
    assert one["seed"] != two["seed"]
    assert one | {"seed": 0} == two | {"seed": 0}


def test_a_finished_rollout_is_left_alone_and_the_other_sees_its_steps():
    steps = tables.from_rows("steps", [step_row(done=True), step_row("q1-s1", sample_id=1)])
    table, world = run({"questions": questions_table(1), "steps": steps}, SETTINGS.model_copy(update={"step": 2}))
    assert set(table["rollout_id"].to_pylist()) == {"q1-s1"}
    assert set(table["step_idx"].to_pylist()) == {2}
    assert world.asked["policy"][0]["messages"][2:] == [
        {"role": "assistant", "content": "Thought: t\nAction: search\nInput: x"},
        {"role": "user", "content": "Observation: seen"},
    ]


def test_steps_count_in_their_order_whatever_the_order_of_rows():
    rows = [step_row(step_idx=2, action_query="second"), step_row(action_query="first")]
    _, world = run(
        {"questions": questions_table(1), "steps": tables.from_rows("steps", rows)},
        SETTINGS.model_copy(update={"samples": 1}),
    )
    turns = [m["content"] for m in world.asked["policy"][0]["messages"] if m["role"] == "assistant"]
    assert [t.split()[-1] for t in turns] == ["first", "second"]


def test_a_failed_call_is_nine_rows_with_the_error():
    world = FakeWorld()
    world.fail = lambda port, request: (
        "too long" if request["stop"] == ["\nAction:"] and "what is 2" in str(request["messages"]) else None
    )
    with pytest.raises(
        SparkError, match=r"^synth: 2 of 6 calls of the policy failed, more than synth\.max_failed = 0\.02"
    ):
        run({"questions": questions_table(2)}, world=world)
    table, _ = run({"questions": questions_table(2)}, SETTINGS.model_copy(update={"max_failed": 0.5}), world=world)
    rows = table.to_pylist()
    failed = [r for r in rows if r["question_id"] == 2]
    assert len(failed) == 18
    assert {(r["error"], r["action_query"], r["action_ids"]) for r in failed} == {("too long", None, None)}
    assert all(r["error"] is None and r["action_query"] for r in rows if r["question_id"] == 1)
    checks.check(table, "candidates", "made")


def test_with_every_rollout_finished_the_table_is_empty_and_nothing_is_asked():
    steps = tables.from_rows("steps", [step_row(done=True), step_row("q1-s1", sample_id=1, done=True)])
    table, world = run({"questions": tables.from_rows("questions", [question(1)]), "steps": steps})
    assert len(table) == 0
    assert world.asked["policy"] == []


def test_a_thought_that_ended_its_turn_is_opened_again():
    class Ending(FakeWorld):
        def _write(self, request):
            body = super()._write(request)
            if request["stop"] == ["\nAction:"]:
                body["completions"][0] |= {"ended_turn": True}
            return body

    table, world = run({"questions": questions_table(1)}, world=Ending())
    assert world.asked["policy"][-1]["turn"][1]["ids"] == [1, 2]
    assert table["thought_ids"][0].as_py() == [1, 2]
    assert len(table["thought_logprobs"][0].as_py()) == 2
