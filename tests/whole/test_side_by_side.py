"""What must hold of policies side by side: the recipe's and adapters from elsewhere, on the same questions and seeds."""

import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from helpers.policy_requests import save_adapter
from helpers.tables_and_fakes import ROOT, question, questions_table
from sparkctl.method import tables
from sparkctl.pipeline.experiment import Workbench
from sparkctl.pipeline.ports import policy as policy_ports
from sparkctl.pipeline.results import result_of
from sparkctl.storage import files as stores
from training.test_adapters import lay

SMALL = ("synth.limit=14", "eval.limit=14", "synth.steps=2")


@pytest.fixture
def bench(tmp_path):
    """Opens a workbench on these policies."""

    def open_bench(*policies, sets=()):
        named = f"eval.policies={json.dumps([str(policy) for policy in policies])}"
        return Workbench.open("nano", "r", (*SMALL, named, *sets), tmp_path / "data", ROOT / "stages")

    return open_bench


def ran(fates):
    return {f.node.name: f.why for f in fates if f.runs}


def test_a_folder_is_evaluated_and_nothing_is_made_that_it_does_not_need(bench, fakes, tmp_path):
    b = bench("base", lay(tmp_path / "mine"))
    fates = b.stage("eval", None)
    assert list(ran(fates)) == ["questions", "eval_questions", "eval.base", "eval.mine"]
    assert set(b.table("answers", "mine")["policy"].to_pylist()) == {"mine"}
    assert list(result_of(b, fates).policies) == ["base", "mine"]
    assert fakes.asked["judge"] == []


def test_every_policy_is_asked_the_same_with_the_same_seeds(bench, fakes, tmp_path):
    bench("base", lay(tmp_path / "one", b"1"), lay(tmp_path / "two", b"2")).stage("eval", None)
    asked = fakes.asked["policy"]
    third = len(asked) // 3
    assert third >= 14
    assert asked[:third] == asked[third : 2 * third] == asked[2 * third :]


def test_the_adapters_bytes_decide_the_key_and_not_where_it_lies(bench, fakes, tmp_path):
    mine = lay(tmp_path / "mine")
    bench("base", mine).stage("eval", None)
    mine.rename(tmp_path / "other")
    assert ran(bench("base", lay(tmp_path / "copies" / "mine")).stage("eval", None)) == {}
    (tmp_path / "copies" / "mine" / "adapter_model.safetensors").write_bytes(b"trained on")
    again = ran(bench("base", tmp_path / "copies" / "mine").stage("eval", None))
    assert again == {"eval.mine": "adapter changed"}


def test_a_folder_beside_trained_policies_is_no_policy_to_train(bench, fakes, tmp_path):
    names = [node.name for node in bench("spark", lay(tmp_path / "spark")).graph]
    assert [n for n in names if n.startswith("train.")] == ["train.spark"]
    evaluated = [n for n in names if n.startswith("eval.")]
    assert evaluated[0] == "eval.spark"
    assert evaluated[1].startswith("eval.spark-")


def test_vllm_is_opened_with_room_for_the_largest_adapter(bench, tmp_path):
    """For the base as well: else it would be opened a second time for the first adapter."""
    folder = save_adapter(tmp_path / "one", 1, rank=24)
    by_vllm = ("eval.engine=vllm",)

    def room(*policies, sets=by_vllm):
        graph = bench(*policies, sets=sets).graph
        return {node.settings.vllm.lora_rank for node in graph if node.name.startswith("eval.")}

    assert room("base") == {0}
    assert room("base", folder) == {24}
    assert room("base", "spark", folder, sets=(*by_vllm, "train.variant.spark.lora_r=32")) == {32}
    keys = [bench("base", sets=by_vllm).graph[-1], bench(folder, "base", sets=by_vllm).graph[-1]]
    assert keys[0].settings.identity() == keys[1].settings.identity(), "how vLLM is opened decides no answer"


def test_the_bytes_of_the_examples_decide_the_key(bench, fakes, tmp_path):
    rows = [question(i, cot_content=f"it is {i}") for i in range(100, 128)]
    file = tmp_path / "examples.parquet"
    stores.write_table(tables.from_rows("questions", rows), "questions", file, {})
    sets = ("eval.shots=2", f"eval.shots_from={file}")
    bench("base").stage("eval", None)
    asked = len(fakes.asked["policy"])
    assert ran(bench("base", sets=sets).stage("eval", None)) == {"eval.base": "shots changed 0 -> 2; examples changed"}
    assert len(fakes.asked["policy"]) > asked
    assert ran(bench("base", sets=sets).stage("eval", None)) == {}
    stores.write_table(tables.from_rows("questions", rows[::-1]), "questions", file, {})
    assert ran(bench("base", sets=sets).stage("eval", None)) == {"eval.base": "examples changed"}


def test_the_data_set_of_the_examples_decides_the_key(bench, tmp_path):
    sets = ("eval.shots=1", f"eval.shots_from=hub:{tmp_path / 'set'}:validation")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "validation.parquet").write_bytes(b"one")
    one = bench("base", sets=sets).graph[-1]
    (tmp_path / "set" / "validation.parquet").write_bytes(b"two")
    two = bench("base", sets=sets).graph[-1]
    assert one.identities["examples"] != two.identities["examples"]
    assert "examples" not in one.files


def test_a_folder_works_on_files_given_by_name_too(bench, fakes, tmp_path):
    b = bench(lay(tmp_path / "mine"))
    stores.write_table(questions_table(3), "questions", tmp_path / "q.parquet", {})
    b.explicit("eval", None, [f"eval_questions={tmp_path / 'q.parquet'}"], [str(tmp_path / "a.parquet")])
    assert pq.read_table(tmp_path / "a.parquet")["policy"].to_pylist() == ["mine"] * 3


@pytest.mark.slow
def test_the_model_is_loaded_once_for_all_adapters(bench, tmp_path, monkeypatch):
    """The embedded policy and real adapters of two ranks over it; each answers as it does alone."""
    one, two = save_adapter(tmp_path / "one", 1), save_adapter(tmp_path / "two", 2, rank=4)
    opened = []
    open_engine = policy_ports._open_engine
    monkeypatch.setattr(policy_ports, "_open_engine", lambda settings: opened.append(settings) or open_engine(settings))
    policy_ports.close_engine()
    b = bench("base", one, two)
    b.stage("eval", None)
    assert len(opened) == 1
    together = {name: b.table("answers", name).to_pylist() for name in ("base", "one", "two")}
    assert len({json.dumps([row["output"] for row in rows]) for rows in together.values()}) == 3
    policy_ports.close_engine()
    alone = Workbench.open("nano", "r", (*SMALL, f"eval.policies=['{two}']"), tmp_path / "alone", ROOT / "stages")
    alone.stage("eval", None)
    assert alone.table("answers", "two").to_pylist() == together["two"]


@pytest.mark.slow
def test_side_by_side_through_the_command_line(tmp_path):
    """Greedy, two categories, three samples, one example: the recipe's base and an adapter made elsewhere."""
    folder = save_adapter(tmp_path / "adapter", 1)
    few = ["--set", "eval.limit=6", "--set", "synth.limit=28", "--data", tmp_path / "data"]
    asked = ["--categories", "math,physics", "--set", "eval.temperature=0", "--set", "eval.samples=3"]

    def evaluate(*args):
        words = [*map(str, ["eval", "--policy", "base", "--policy", folder, *few, *asked, *args, "--json"])]
        done = subprocess.run([sys.executable, "-m", "sparkctl", *words], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["policies"]

    found = evaluate()
    assert list(found) == ["base", "adapter"]
    for policy in found.values():
        assert policy["n"] == 18
        assert set(policy["accuracy_by_category"]) == {"math", "physics"}
        assert policy["accuracy_macro"] == pytest.approx(sum(policy["accuracy_by_category"].values()) / 2)
    questions = tmp_path / "data" / "default" / "questions.parquet"
    told = evaluate("--set", "eval.shots=1", "--set", f"eval.shots_from={questions}")
    assert told["base"] != found["base"]
    kept = pq.read_table(tmp_path / "data" / "default" / "answers.base.parquet").to_pylist()
    by_question = {
        row["question_id"]: {r["output"] for r in kept if r["question_id"] == row["question_id"]} for row in kept
    }
    assert all(len(outputs) == 1 for outputs in by_question.values()), "greedy samples are the same"
