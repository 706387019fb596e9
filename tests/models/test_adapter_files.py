"""What must hold of an adapter's files: another model's weights are refused by whatever engine, before it is opened."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.policy_requests import STATES, request, save_adapter
from sparkctl.errors import SparkError
from sparkctl.models import adapter_files, loading
from sparkctl.pipeline.ports import policy as policy_ports
from sparkctl.storage.memory import Memory

PREFIX = "base_model.model."


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return save_adapter(tmp_path_factory.mktemp("good"), 1)


@pytest.fixture
def weighing(good, tmp_path):
    """A copy of the good adapter with other weights."""

    def lay(change):
        folder = shutil.copytree(good, tmp_path / "adapter")
        save_file(change(load_file(good / "adapter_model.safetensors")), folder / "adapter_model.safetensors")
        return folder

    return lay


def test_an_adapter_of_the_model_is_taken(good):
    adapter_files.check(good, "nano")


def test_weights_under_another_prefix_are_refused_with_the_first_named(weighing):
    folder = weighing(lambda weights: {name.removeprefix(PREFIX): w for name, w in weights.items()})
    # 3 layers of 7 linear modules, two matrices each.
    with pytest.raises(
        SparkError, match=r"of 42 weights 42 missing \(base_model.model.*, 42 without a place in it \(mod"
    ):
        adapter_files.check(folder, "nano")


def test_half_of_the_weights_are_refused_with_the_first_that_is_missing(weighing):
    folder = weighing(lambda weights: dict(sorted(weights.items())[1:]))
    with pytest.raises(SparkError, match=r"1 missing \(.*layers\.0\.mlp\.down_proj\.lora_A\.weight\); set synth"):
        adapter_files.check(folder, "nano")


def test_a_weight_that_has_no_place_is_refused(weighing):
    stray = f"{PREFIX}model.layers.9.mlp.up_proj.lora_A.weight"
    folder = weighing(lambda weights: weights | {stray: torch.ones(8, 96)})
    with pytest.raises(SparkError, match=r"1 without a place in it \(.*layers\.9\.mlp"):
        adapter_files.check(folder, "nano")


def test_a_weight_of_another_shape_is_refused(weighing):
    def narrower(weights):
        first = min(weights)
        return weights | {first: weights[first][:, 1:].contiguous()}

    with pytest.raises(SparkError, match=r"1 of another shape \(.*down_proj"):
        adapter_files.check(weighing(narrower), "nano")


def test_embeddings_that_peft_saves_beside_an_adapter_are_no_strays(weighing):
    adapter_files.check(weighing(lambda w: w | {f"{PREFIX}model.embed_tokens.weight": torch.ones(4, 96)}), "nano")


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b"", lambda b: b"\xff" * 64, lambda b: b[200:]])
def test_a_damaged_file_is_one_line(good, tmp_path, damage):
    folder = shutil.copytree(good, tmp_path / "adapter")
    path = folder / "adapter_model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SparkError, match="its weights cannot be read") as refused:
        adapter_files.check(folder, "nano")
    assert "\n" not in str(refused.value)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(good, tmp_path):
    class Runs:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    folder = shutil.copytree(good, tmp_path / "adapter")
    (folder / "adapter_model.safetensors").unlink()
    torch.save({"x": Runs()}, folder / "adapter_model.bin")
    with pytest.raises(SparkError, match="its weights cannot be read"):
        adapter_files.check(folder, "nano")
    assert not (tmp_path / "ran").exists()


CONFIGS = ["null", "[]", "{}", "[" * 100_000, '{"r": 1e400}', '{"peft_type": "LORA", "r": "x"}', '{"peft_type": 7}']


@pytest.mark.parametrize("text", CONFIGS)
def test_an_odd_configuration_is_one_line(good, tmp_path, text):
    folder = shutil.copytree(good, tmp_path / "adapter")
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(SparkError):
        adapter_files.check(folder, "nano")
    with pytest.raises(SparkError):
        loading.adapter_rank(folder)


def test_an_adapter_of_another_kind_is_refused(good, tmp_path):
    folder = shutil.copytree(good, tmp_path / "adapter")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3", "target_modules": ["q_proj"]}))
    with pytest.raises(SparkError, match="no LoRA adapter"):
        adapter_files.check(folder, "nano")


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_a_policy_with_an_adapter_of_another_model_is_refused_before_anything_is_opened(weighing, tmp_path, engine):
    folder = weighing(lambda weights: {f"x.{name}": w for name, w in weights.items()})
    settings = SimpleNamespace(policy="nano", engine=engine, dtype="float32", quantise="none")
    port = policy_ports.policy_port(settings, folder, Memory(tmp_path / "m.sqlite"), lambda *n, **c: None)
    with pytest.raises(SparkError, match=r"of 42 weights 42 missing"):
        port([request(STATES[0])])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_model.bin"])
def test_values_that_are_no_numbers_are_refused_with_the_first_weight_named(good, tmp_path, value, name):
    """A policy with one of these wrote padding for ever, and was evaluated without a word."""
    folder = shutil.copytree(good, tmp_path / "adapter")
    weights = load_file(folder / "adapter_model.safetensors")
    first = min(weights)
    weights[first][0, 0] = value
    (folder / "adapter_model.safetensors").unlink()
    save = save_file if name.endswith("safetensors") else torch.save
    save(weights, folder / name)
    with pytest.raises(SparkError, match=r"1 with values that are no finite numbers \(.*down_proj"):
        adapter_files.check(folder, "nano")
