"""The learner for real: 4-bit weights, several processes through accelerate, what is written beside an adapter."""

import json
import sys

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from helpers.tiny_models import NAMES, rollouts, settings, started
from sparkctl.errors import SparkError
from sparkctl.models import loading
from sparkctl.models.learner import Learner
from sparkctl.pipeline.progress import progress
from sparkctl.training.adapters import check_base


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A folder with a small model; 4-bit blocks are of 64 weights."""
    folder = tmp_path_factory.mktemp("policy")
    torch.manual_seed(0)
    shape = {"vocab_size": 40, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
    LlamaForCausalLM(
        LlamaConfig(**shape, num_attention_heads=2, max_position_embeddings=256, initializer_range=0.1)
    ).save_pretrained(folder)
    return str(folder)


def learner(policy, **changes):
    told = changes.pop("told", [])
    return Learner(settings(policy=policy, **changes), identity="i", progress=progress, tell=told.append)


def trees(policy):
    return started(loading.open_model(policy, "float32", "cpu"), rollouts(10, names=NAMES))


# ---- 4-bit -----------------------------------------------------------------------------------------------------------


def test_qlora_trains_on_four_bit_weights_that_stay_as_they_are(policy, tmp_path):
    """NF4 with double quantisation by bitsandbytes, here on the CPU."""
    made = learner(policy, quantise="nf4", epochs=20, objective="sft", batch_size=100)
    model = made._open()
    linear = model.model.layers[0].mlp.up_proj
    assert (linear.weight.quant_type, linear.weight.compress_statistics) == ("nf4", True)
    assert linear.weight.dtype == torch.uint8
    rows = made.fit(trees(policy), tmp_path / "a")
    assert rows[-1]["policy_loss"] < rows[0]["policy_loss"] - 0.1
    base = json.loads((tmp_path / "a" / "base.json").read_text())
    assert base == {"policy": policy, "dtype": "float32", "quantise": "nf4", "model": "i"}


def test_gradients_through_four_bit_weights_are_those_of_the_same_weights_written_out(policy):
    """bitsandbytes has kernels for inference that give no gradient, or a wrong one, without a word."""
    from sparkctl.training.trainer import Job, _Training

    made = learner(policy, quantise="nf4")
    given, found = trees(policy), []
    for model in (made._open(), made._open().dequantize()):
        training = _Training(model.to(torch.float32) if found else model, Job(given, made.settings, None), print)
        training.accumulate(given)
        found.append([w.grad for w in training.actor])
    assert any(float(g.abs().max()) > 1e-3 for g in found[0])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_the_reference_of_a_quantised_base_is_its_own(policy):
    given = rollouts(2)
    plain, four = (learner(policy, quantise=q).logprobs(given) for q in ("none", "nf4"))
    apart = max(abs(a - b) for key in plain for one, two in zip(plain[key], four[key], strict=True) for a, b in zip(one, two, strict=True))  # fmt: skip
    assert 0.001 < apart < 1.0


def test_where_four_bit_does_not_run_the_error_says_what_to_install_or_set(policy, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(SparkError) as fault:
        learner(policy, quantise="nf4").logprobs(rollouts(1))
    assert "train.quantise: 'nf4' needs bitsandbytes, which does not run here" in str(fault.value)
    assert "pip install 'sparkctl[qlora]', or set train.quantise = 'none'" in str(fault.value)
    assert "\n" not in str(fault.value)


# ---- several processes -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"kl": 0.1}, {"critic": "value"}])
def test_two_processes_give_the_losses_of_one_on_the_same_global_batch(policy, tmp_path, changes):
    """For real; the sums are taken in another order, and that is all. That there are two, the trainer itself checks."""
    given = trees(policy)
    common = changes | {"epochs": 3, "micro_batch_tokens": 40}
    one = learner(policy, **common).fit(given, tmp_path / "one")
    two = learner(policy, processes=2, **common).fit(given, tmp_path / "two")
    assert len(one) == len(two) > 3
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        known = {name for name, value in a.items() if value is not None}
        assert known == {name for name, value in b.items() if value is not None}
        assert {n: b[n] for n in known} == pytest.approx({n: a[n] for n in known}, rel=1e-3, abs=1e-5)
    from safetensors.torch import load_file

    weights = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("one", "two")]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_a_fault_in_a_process_is_one_line(policy, tmp_path):
    from dataclasses import replace

    bad = [
        replace(t, forks=tuple(replace(f, actions=tuple(replace(a, advantage=float("nan")) for a in f.actions)) for f in t.forks))
        for t in trees(policy)
    ]  # fmt: skip
    with pytest.raises(SparkError, match=r"train\.spark: the gradient of update 1 is not finite \(rollouts q"):
        learner(policy, processes=2).fit(bad, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_number_of_processes_that_is_not_there_is_refused(policy, tmp_path):
    from sparkctl.training.trainer import Job

    made = learner(policy, processes=2)
    with pytest.raises(SparkError, match=r"train\.spark: 1 processes train together, and train.processes says 2"):
        made.fit_here(Job(trees(policy), made.settings, tmp_path / "a"))


# ---- models that do not read trees -----------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [12, 400])
def test_a_sliding_window_is_noticed_by_the_reference_and_by_training(tmp_path, window):
    """A model that looks back only so far: trees would let it look further. A window nobody reaches is no matter."""
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    shape = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256}
    MistralForCausalLM(MistralConfig(**shape, sliding_window=window, initializer_range=0.2)).save_pretrained(tmp_path)
    told, given = [], rollouts(6, 3)
    tree = learner(str(tmp_path), told=told).logprobs(given)
    rows = learner(str(tmp_path), packing="rows").logprobs(given)
    for key, wanted in rows.items():
        for one, two in zip(tree[key], wanted, strict=True):
            assert one == pytest.approx(two, abs=1e-4)
    learner(str(tmp_path), told=told).fit(given, tmp_path / "a")
    refused = [line for line in told if "does not read packed trees" in line]
    assert [line.split(":")[0] for line in refused] == (["reference", "train.spark"] if window == 12 else [])


def test_numbers_that_are_not_numbers_are_no_agreement():
    from sparkctl.training.packing_check import tolerated

    model = type("Model", (), {"dtype": torch.float32})
    assert [tolerated(model, apart) for apart in (1e-4, 0.1, float("nan"), float("inf"))] == [True, False, False, False]


# ---- settings that do not fit the model or the machine ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lora_targets": ("nope",)}, "train.lora_targets: ('nope',) does not fit this model ("),
        ({"attention": "flex"}, "train.attention: 'flex' trains on a GPU only; set sdpa"),
        ({"device": "cuda"}, "train.device: 'cuda' cannot be used, torch sees no GPU; set cpu or auto"),
    ],
)
def test_what_does_not_fit_is_one_line(policy, tmp_path, changes, says):
    with pytest.raises(SparkError) as fault:
        learner(policy, **changes).fit(rollouts(2), tmp_path / "a")
    assert str(fault.value).startswith(says)
    assert "\n" not in str(fault.value)


# ---- which base an adapter belongs to --------------------------------------------------------------------------------


class Asked:
    policy, dtype, quantise, any_precision = "p", "float32", "none", False


def folder_with(tmp_path, text):
    (tmp_path / "base.json").write_text(text)
    return tmp_path


def test_an_adapter_of_another_base_is_refused(tmp_path):
    with pytest.raises(SparkError, match=r"this adapter was trained on 'other', not on 'p'; set synth.policy to it"):
        check_base(
            folder_with(tmp_path, '{"policy": "other", "model": "i", "dtype": "float32", "quantise": "none"}'),
            Asked,
            "i",
        )


def test_an_adapter_of_other_weights_under_the_same_name_is_refused(tmp_path):
    folder = folder_with(tmp_path, '{"policy": "p", "model": "before", "dtype": "float32", "quantise": "none"}')
    with pytest.raises(SparkError, match="trained on other weights than 'p' has now; train it again"):
        check_base(folder, Asked, "now")


def test_another_precision_is_refused_unless_allowed(tmp_path):
    folder = folder_with(tmp_path, '{"policy": "p", "model": "i", "dtype": "bfloat16", "quantise": "nf4"}')
    with pytest.raises(SparkError, match=r"trained on a base in nf4 \(bfloat16\), eval would lay it over float32; set"):
        check_base(folder, Asked, "i")
    allowed = type("Allowed", (Asked,), {"any_precision": True})
    check_base(folder, allowed, "i")
    same = type("Same", (Asked,), {"dtype": "bfloat16", "quantise": "nf4"})
    check_base(folder, same, "i")


def test_a_folder_that_does_not_say_is_taken_and_one_that_cannot_be_read_is_named(tmp_path):
    check_base(tmp_path, Asked, "i")
    with pytest.raises(SparkError, match=r"base\.json: cannot be read; train the adapter again"):
        check_base(folder_with(tmp_path, "{"), Asked, "i")
