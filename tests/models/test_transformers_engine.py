"""What must hold of the engine on transformers beyond tests/models/test_engines.py: batches and neighbours do not show,
and adapters are laid over one model."""

import pytest

from helpers.policy_requests import STATES, fork, request, save_adapter
from sparkctl.errors import SparkError
from sparkctl.models.transformers_engine import TransformersEngine


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine("nano", batch_size=64)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_neighbours_and_batch_size_do_not_show(engine, temperature):
    asked = [fork(s, temperature=temperature, seed=i) for i, s in enumerate(STATES)]
    asked += [request(s, temperature=temperature, seed=i) for i, s in enumerate(STATES)]
    together = engine(asked)
    alone = [engine([a])[0] for a in asked]
    small = TransformersEngine("nano", batch_size=9)(asked)
    for one, two, three in zip(together, alone, small, strict=True):
        for a, b, c in zip(one.body["completions"], two.body["completions"], three.body["completions"], strict=True):
            assert a["ids"] == b["ids"] == c["ids"]
            assert a["logprobs"] == pytest.approx(b["logprobs"], abs=2e-4)


def test_adapters_are_laid_over_one_model_in_turn_and_leave_it_as_it_was(engine, tmp_path):
    save_adapter(tmp_path, 1)
    asked = [fork(STATES[0])]
    before, over, after = engine(asked), engine(asked, adapter=tmp_path), engine(asked)
    assert before == after
    moved = [c["logprobs"] for c in over[0].body["completions"]]
    assert moved != [c["logprobs"] for c in before[0].body["completions"]]


def test_an_adapter_that_is_none_is_named_and_the_engine_goes_on(engine, tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(SparkError, match="not an adapter of this base model"):
        engine([request(STATES[0])], adapter=tmp_path)
    assert engine([request(STATES[0])])[0].error is None
