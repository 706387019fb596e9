"""What must hold of reference: every candidate has its log-probs under the frozen start, or says why not."""

import pytest
import torch

from helpers.tables_and_fakes import questions_table
from sparkctl.method import checks, tables
from sparkctl.method.episode import ACTIONS
from sparkctl.models import loading
from sparkctl.models.learner import Learner
from sparkctl.pipeline.progress import progress
from sparkctl.stages.reference import STAGE, Reference
from sparkctl.stages.stage import Context
from sparkctl.training.tokens import Reader
from stages.test_train import COMMON, fork, step


def run(forks, steps=(), **changes):
    settings = Reference(**COMMON, **changes)
    given = {
        "questions": questions_table(5),
        "candidates": tables.from_rows("candidates", [c for f in forks for c in f[0]]),
        "steps": tables.from_rows("steps", list(steps)),
    }
    made = Learner(settings, identity="i", progress=progress, tell=print)
    table = STAGE.run(given, settings, Context(learner=lambda: made))["reference"]
    return checks.check(table, "reference", "made").to_pylist(), Reader.of(made, settings)


def two_states():
    taken = [step("q1-s0", "search", done=False, is_correct=None), step("q1-s0", "cot", step_idx=2)]
    return [fork("q1-s0", {}), fork("q1-s0", {}, step_idx=2), fork("q2-s0", {})], taken


def test_log_probs_are_those_of_the_plain_model_one_row_at_a_time():
    forks, taken = two_states()
    rows, reader = run(forks, taken)
    assert [(r["rollout_id"], r["step_idx"], r["tool_name"]) for r in rows] == [
        (c["rollout_id"], c["step_idx"], c["tool_name"]) for f in forks for c in f[0]
    ]
    model, question = loading.open_model("nano", "float32", "cpu"), questions_table(5).to_pylist()[0]
    for row, before in ((rows[3], []), (rows[9], taken[:1])):
        prompt = reader.prompt(question, before, [11, 12], reader.tokenizer.decode([11, 12]))
        ids = next(c["action_ids"] for f in forks for c in f[0] if c["tool_name"] == row["tool_name"])
        with torch.no_grad():
            table = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
        by_hand = [float(table[len(prompt) - 1 + k, token]) for k, token in enumerate(ids)]
        assert row["logprobs"] == pytest.approx(by_hand, abs=1e-4)
        assert row["prompt_tokens"] == len(prompt)


def test_rows_and_trees_say_the_same():
    forks, taken = two_states()
    tree, rows = (run(forks, taken, packing=p, micro_batch_tokens=300)[0] for p in ("tree", "rows"))
    for one, two in zip(tree, rows, strict=True):
        assert one["logprobs"] == pytest.approx(two["logprobs"], rel=1e-5, abs=1e-5)


def test_a_candidate_without_tokens_says_why():
    forks = [fork("q1-s0", {}), fork("q2-s0", {}, error="cut off", thought_ids=None, action_ids=None)]
    forks[0][0][2]["error"] = "empty"
    rows, _ = run(forks)
    assert [r["error"] for r in rows] == [
        None,
        None,
        "the candidate failed",
        *[None] * 6,
        *["the candidate failed"] * 9,
    ]
    assert rows[2]["logprobs"] is None
    assert len(rows) == 2 * len(ACTIONS)
