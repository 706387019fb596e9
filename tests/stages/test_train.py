"""What must hold of train: which step is trained on which action, why others are dropped, the tokens as synth put them."""

import pytest

from sparkctl import chat, tables
from sparkctl.backends import models
from sparkctl.episode import ACTIONS, THOUGHT
from sparkctl.errors import SparkError
from sparkctl.stage import Context
from sparkctl.stages.train import STAGE, Train
from support import fork_rows, questions_table, step_row

SETTINGS = Train(
    policy="nano", prompt="s", descriptions={a: a for a in ACTIONS}, epochs=1, lora_r=2, baseline="none", min_score=6.0
)


def step(rollout, tool, **changes):
    return step_row(rollout, tool_name=tool, **({"done": True, "is_correct": True} | changes))


def fork(rollout, scores, step_idx=1, **changes):
    """A state whose every action's ids are [20 + its index, 3]."""
    candidates, judged = fork_rows(rollout, scores, step_idx)
    ids = {a: {"thought_ids": [11, 12], "action_ids": [20 + i, 3]} for i, a in enumerate(ACTIONS)}
    return [c | {"policy": "nano"} | ids[c["tool_name"]] | changes for c in candidates], judged


def run(tmp_path, steps, forks, **changes):
    inputs = {
        "questions": questions_table(5),
        "steps": tables.from_rows("steps", steps),
        "candidates": tables.from_rows("candidates", [c for f in forks for c in f[0]]),
        "scores": tables.from_rows("scores", [s for f in forks for s in f[1]]),
    }
    context = Context(
        model=lambda: (models.open_model("nano", "float32", "cpu"), models.open_tokenizer("nano")), scratch=tmp_path
    )
    made = STAGE.run(inputs, SETTINGS.model_copy(update=changes), context)
    tables.check(made["updates"], "updates", "made")
    return tables.check(made["credit"], "credit", "made").to_pylist(), made


def test_every_step_has_its_row_and_what_it_was_trained_on(tmp_path):
    forks = [fork("q1-s0", {"search": 7, "cot": 10}), fork("q2-s0", {"search": 6})]
    rows, made = run(tmp_path, [step("q1-s0", "search"), step("q2-s0", "search", is_correct=False)], forks)
    # quality 1 * 0.7; rarity 0.3 * 1 (nothing taken yet); correctness 0.3
    assert [(r["quality"], r["rarity"], r["correctness"]) for r in rows] == [
        pytest.approx((0.7, 0.3, 0.3)),
        pytest.approx((0.6, 0.3, 0.0)),
    ]
    assert [r["reward"] for r in rows] == [r["advantage"] for r in rows] == pytest.approx([1.3, 0.9])
    assert [r["trained_tokens"] for r in rows] == [2, 2]
    assert (made["adapter"] / "adapter_model.safetensors").exists()


def test_best_trains_on_the_highest_score_and_selected_on_what_was_taken(tmp_path):
    forks = [fork("q1-s0", {"search": 7, "wikipedia": 9, "cot": 9})]
    taken = [step("q1-s0", "search")]
    assert run(tmp_path / "a", taken, forks, action="selected")[0][0]["tool_name"] == "search"
    assert run(tmp_path / "b", taken, forks, action="best")[0][0]["tool_name"] == "wikipedia"


def test_supervised_fine_tuning_weighs_every_step_alike(tmp_path):
    forks = [fork("q1-s0", {"search": 7}), fork("q2-s0", {"search": 10})]
    rows, made = run(tmp_path, [step("q1-s0", "search"), step("q2-s0", "search")], forks, objective="sft")
    assert [(r["advantage"], r["reward"]) for r in rows] == [(1.0, None), (1.0, None)]
    assert made["updates"]["clip_frac"].null_count == 1


@pytest.mark.parametrize(
    ("taken", "judged", "candidate", "why"),
    [
        ("search", {"search": 5.9}, {}, "score below min_score"),
        ("search", {}, {}, "not judged"),
        (None, {}, {}, "no candidate has a score"),
        ("search", {"search": 9}, {"error": "too long"}, "the candidate failed"),
        ("search", {"search": 9}, {"action_ids": [5] * 2100}, "longer than the model's context of 2048 tokens"),
    ],
)
def test_what_is_not_trained_on_says_why(tmp_path, taken, judged, candidate, why):
    forks = [fork("q1-s0", {"search": 9}), fork("q2-s0", judged, **candidate)]
    rows, _ = run(tmp_path, [step("q1-s0", "search"), step("q2-s0", taken, error=None)], forks)
    assert [r["dropped_because"] for r in rows] == [None, why]
    assert (rows[1]["reward"], rows[1]["trained_tokens"]) == (None, 0)


def test_the_last_step_is_trained_like_the_others(tmp_path):
    forks = [fork("q1-s0", {"search": 8}), fork("q1-s0", {"cot": 8}, step_idx=2)]
    rows, _ = run(
        tmp_path, [step("q1-s0", "search", done=False, is_correct=None), step("q1-s0", "cot", step_idx=2)], forks
    )
    # Correctness is the rollout's: known at its end, it counts for both steps.
    assert [r["correctness"] for r in rows] == pytest.approx([0.3, 0.3])
    assert [r["advantage"] for r in rows] == pytest.approx([1.4, 1.4])


def test_no_signal_stops_with_the_reasons(tmp_path):
    with pytest.raises(SparkError, match=r"no step carries signal \(1 steps; dropped: 1 score below min_score\)"):
        run(tmp_path, [step("q1-s0", "search")], [fork("q1-s0", {"search": 2})])


def test_a_missing_candidate_is_named(tmp_path):
    with pytest.raises(SparkError, match="candidates: no row for q2-s0, step 1, search"):
        run(tmp_path, [step("q1-s0", "search"), step("q2-s0", "search")], [fork("q1-s0", {"search": 9})])


def test_the_tokens_are_those_that_synth_put_to_the_policy(tmp_path, monkeypatch):
    from sparkctl.objective import trainer

    seen = []
    real = trainer.fit
    monkeypatch.setattr(
        trainer, "fit", lambda model, pad, items, *rest: seen.extend(items) or real(model, pad, items, *rest)
    )
    run(tmp_path, [step("q1-s0", "search")], [fork("q1-s0", {"search": 9})])
    tokenizer = models.open_tokenizer("nano")
    text = tokenizer.decode(seen[0].prompt_ids)
    assert text.startswith("<|user|>Question: what is 1 + 1?\nOptions:\nA. 2\nB. 1")
    assert list(seen[0].action_ids) == [20 + ACTIONS.index("search"), 3]
    opening = chat.thought_prefix(tokenizer)
    tail = [*opening, 11, 12, *chat.action_prefix(tokenizer)]
    assert tokenizer.decode(opening) == THOUGHT
    assert list(seen[0].prompt_ids)[-len(tail) :] == tail


def test_the_tokens_of_another_policy_are_refused(tmp_path):
    with pytest.raises(SparkError, match="candidates: written by policy 'llama', whose tokens are not those of 'nano'"):
        run(tmp_path, [step("q1-s0", "search")], [fork("q1-s0", {"search": 9}, policy="llama")])


def test_settings_of_the_reward_do_not_make_supervised_fine_tuning_stale():
    one, other = (SETTINGS.model_copy(update={"objective": "sft", "kl": kl}) for kl in (0.1, 0.2))
    assert one.identity() == other.identity()
    assert one.identity() != SETTINGS.identity()
    assert SETTINGS.identity() != SETTINGS.model_copy(update={"kl": 0.3}).identity()
