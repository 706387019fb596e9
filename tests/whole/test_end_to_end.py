"""The real thing, small: the embedded policy, judge and tools through the command line, and what a kill leaves."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.tables_and_fakes import ROOT, SHARED

pytestmark = pytest.mark.slow

SMALL = ["--set", "synth.limit=56", "--set", "eval.limit=56", "--set", "train.epochs=1"]
ROUNDS = ["--set", "eval.policies=['base']", "--set", "synth.steps=3"]
MMLU = SHARED / "mmlu_pro" / "test.parquet"


def command(*args, data):
    return [sys.executable, "-m", "sparkctl", *args, "--data", str(data)]


def sparkctl(*args, data):
    done = subprocess.run(command(*args, data=data), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tables_of(data):
    """Name in the run -> bytes, adapters included; the log and the report, which tells the time, are no links."""
    links = [link for link in (data / "default").iterdir() if link.is_symlink()]
    files = [p for link in links for p in ([link] if link.is_file() else link.rglob("*"))]
    return {str(p.relative_to(data / "default")): p.read_bytes() for p in files if p.is_file()}


def log_of(data):
    return [json.loads(line) for line in (data / "default" / "runs.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run of everything, and what it printed for programs."""
    data = tmp_path_factory.mktemp("finished")
    return data, json.loads(sparkctl("run", "--json", *SMALL, data=data))


def test_a_run_gives_every_policys_numbers_and_every_table(finished):
    data, result = finished
    assert list(result["policies"]) == ["base", "sft_best", "sft_selected", "spark"]
    for policy in result["policies"].values():
        assert policy["n"] == 56
        assert 0 <= policy["accuracy_ci"][0] <= policy["accuracy"] <= policy["accuracy_ci"][1] <= 1
        assert 0 < policy["tool_entropy_bits"] < 3.17
        assert len(policy["accuracy_by_category"]) == 14
        assert policy["entropies"][0]["entropy_bits"] >= policy["tool_entropy_bits"]
        assert policy["measures"]["tokens_per_question"]["value"] > 5
    names = {p.name for p in (data / "default").iterdir()}
    assert {f"{t}.{i}.parquet" for t in ("candidates", "scores", "steps") for i in range(1, 6)} <= names
    assert {"adapter.spark", "updates.spark.parquet", "credit.spark.parquet", "answers.spark.parquet"} <= names


def test_a_second_run_makes_nothing_in_under_three_seconds(finished):
    data, first = finished
    times = []
    for _ in range(2):
        begun = time.perf_counter()
        again = json.loads(sparkctl("run", "--json", *SMALL, data=data))
        times.append(time.perf_counter() - begun)
    assert again["made"] == []
    assert again["policies"] == first["policies"]
    assert min(times) < 3, times


def test_a_run_ends_with_its_report_and_writes_it_only_when_something_changed(finished):
    data, first = finished
    page = data / "default" / "report.html"
    assert first["report"] == str(page)
    assert {p.name for p in (data / "default" / "report").iterdir()} >= {
        "headline.parquet",
        "headline.md",
        "training.md",
    }
    before = page.stat().st_mtime_ns
    shown = sparkctl("run", *SMALL, data=data)
    assert shown.strip().splitlines()[-1] == f"Report: {page}"
    assert "Policies on unseen questions" in shown
    assert page.stat().st_mtime_ns == before


def test_the_same_recipe_gives_the_same_bytes_elsewhere(finished, tmp_path):
    data, _ = finished
    sparkctl("run", *SMALL, data=tmp_path)
    one, two = tables_of(data), tables_of(tmp_path)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_a_changed_threshold_reuses_step_one_and_repeats_no_call(finished, tmp_path):
    data, _ = finished
    changed = [*SMALL, "--set", "select.threshold=8.5", "--run", "strict"]
    plan = {p["node"]: p for p in json.loads(sparkctl("plan", "--json", *changed, data=data))}
    assert not any(plan[n]["runs"] for n in ("synth.1", "judge.1", "eval.base"))
    assert plan["select.1"]["runs"]
    in_place = json.loads(sparkctl("plan", "--json", *SMALL, "--set", "select.threshold=8.5", data=data))
    assert {p["node"]: p["why"] for p in in_place}["select.1"] == "threshold changed 6.0 -> 8.5"
    sparkctl("run", *changed, data=data)
    log = [json.loads(line) for line in (data / "strict" / "runs.jsonl").read_text().splitlines()]
    again = next(r for r in log if r["node"] == "judge.2")
    assert again["remembered"] > 0


@pytest.mark.parametrize("stage", ["synth", "judge"])
def test_after_kill_9_no_remembered_call_is_repeated_and_the_tables_are_the_same(tmp_path, stage):
    """Killed as soon as half of the stage's calls of round 1 are in memory."""
    many = ["--set", "synth.limit=560", *ROUNDS, "--set", "eval.limit=14"]
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    sparkctl(
        "synth" if stage == "judge" else "plan", *(["--step", "1"] if stage == "judge" else []), *many, data=killed
    )
    base = replies(killed)
    process = subprocess.Popen(
        command("run", *many, data=killed), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while replies(killed) < base + 128:
        assert process.poll() is None
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = replies(killed) - base
    assert not list((killed / "store").glob(f"{'candidates' if stage == 'synth' else 'scores'}.1-*.parquet")), (
        "killed too late"
    )
    sparkctl("run", *many, data=killed)
    first = next(r for r in log_of(killed) if r["node"] == f"{stage}.1")
    assert first["remembered"] == kept
    assert first["asked"] + first["remembered"] == (560 if stage == "judge" else 1120)
    sparkctl("run", *many, data=undisturbed)
    one, two = tables_of(killed), tables_of(undisturbed)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_training_killed_through_the_command_line_goes_on_to_the_same_bytes(finished, tmp_path):
    """kill -9 once a checkpoint is there; the run that follows says from where it goes on."""
    data, _ = finished
    given = [*SMALL, "--policy", "spark", "--set", "train.epochs=9", "--set", "train.checkpoint_every=1"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        shutil.copytree(data, folder, symlinks=True)
    sparkctl("train", *given, data=whole)
    process = subprocess.Popen(
        command("train", *given, data=killed), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not list(killed.glob("store/train.spark-*.checkpoint/state.pt")):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command("train", *given, data=killed), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "train.spark: going on after update " in done.stderr
    assert not list(killed.glob("store/*.checkpoint")), "nothing is left once it is done"
    one, two = ({k: v for k, v in tables_of(d).items() if ".spark" in k} for d in (whole, killed))
    assert one == two
    assert any("adapter_model" in name for name in one)


def test_the_audit_and_the_footprint_of_a_run(finished):
    data, _ = finished
    audits = json.loads(sparkctl("train", "--audit", "--json", *SMALL, data=data))
    assert list(audits) == ["sft_best", "sft_selected", "spark"]
    credit = pq.read_table(data / "default" / "credit.spark.parquet").to_pylist()
    assert audits["spark"]["actions"] == len(credit)
    assert audits["spark"]["sums"]["reward"] == pytest.approx(sum(r["reward"] or 0 for r in credit))
    assert audits["spark"]["signal"] == 1.0
    assert "with an advantage other than 0: 100.0 %" in sparkctl("train", "--audit", *SMALL, data=data)
    found = json.loads(sparkctl("train", "--dry-run", "--json", *SMALL, data=data))["spark"]
    assert found["updates"] == len(pq.read_table(data / "default" / "updates.spark.parquet"))
    assert found["trained_tokens"] == sum(r["trained_tokens"] for r in credit)


def test_the_audit_of_a_run_whose_rollouts_end_early(tmp_path):
    """Two questions: nobody needs all five steps, and the last tables are empty."""
    few = ["--set", "synth.limit=2", "--policy", "spark"]
    assert json.loads(sparkctl("train", "--audit", "--json", *few, data=tmp_path))["spark"]["actions"] > 0
    assert json.loads(sparkctl("train", "--dry-run", "--json", *few, data=tmp_path))["spark"]["updates"] > 0


def test_bad_tables_stop_training_in_one_line(finished, tmp_path):
    """Scores of nobody, tokens of another tokenizer, an adapter of another base: on explicit files."""
    data, _ = finished
    names = ("questions", "candidates", "scores", "steps", "reference")
    files = {n: sparkctl("path", n, data=data).split() for n in names}
    out = ["--write", f"adapter={tmp_path / 'adapter'}"]

    def refused(says, command="train", **changed):
        reads = [a for n, paths in (files | changed).items() for p in paths for a in ("--read", f"{n}={p}")]
        done = subprocess.run(
            [sys.executable, "-m", "sparkctl", command, "--policy", "spark", *reads, *out, "--data", str(data)],
            capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert says in done.stderr.strip().splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "adapter").exists()

    scores = pq.read_table(files["scores"][0])
    pq.write_table(scores.set_column(4, "score", pa.nulls(len(scores), pa.float64())), tmp_path / "s.parquet")
    refused("train.spark: no step carries signal", scores=[tmp_path / "s.parquet"])
    rows = pq.read_table(files["candidates"][0])
    at = rows.column_names.index("action_ids")
    other = pa.array([[i + 1 for i in ids] for ids in rows["action_ids"].to_pylist()], pa.list_(pa.int32()))
    pq.write_table(rows.set_column(at, "action_ids", other), tmp_path / "c.parquet")
    refused("not what its text says; run synth again", candidates=[tmp_path / "c.parquet", *files["candidates"][1:]])
    adapter = tmp_path / "other"
    shutil.copytree((data / "default" / "adapter.spark").resolve(), adapter)
    (adapter / "base.json").write_text(
        json.dumps({"policy": "llama", "model": "x", "dtype": "float32", "quantise": "none"})
    )
    files = {"eval_questions": sparkctl("path", "eval_questions", data=data).split(), "adapter": [adapter]}
    out = ["--write", str(tmp_path / "answers.parquet")]
    refused("this adapter was trained on 'llama', not on 'nano'", command="eval")


def replies(data):
    path = data / "memory.sqlite"
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as db:
            return db.execute("SELECT count(*) FROM replies").fetchone()[0]
    except sqlite3.OperationalError:  # being created
        return 0


def test_a_stage_can_be_swapped_for_another_program(finished, tmp_path):
    """Scores halved by another program: select on explicit files obeys them."""
    data, _ = finished
    paths = {
        t: sparkctl("path", t, *(["--step", "1"] if t != "questions" else []), data=data).strip()
        for t in ("questions", "candidates", "scores")
    }
    table = pq.read_table(paths["scores"]).to_pandas()
    table["score"] = table["score"] / 2
    table.to_parquet(tmp_path / "scores.parquet", index=False)
    out = tmp_path / "steps.parquet"
    sparkctl(
        "select", "--step", "1", "--read", f"questions={paths['questions']}", "--read", f"candidates={paths['candidates']}",
        "--read", f"scores={tmp_path / 'scores.parquet'}", "--write", str(out), data=data,
    )  # fmt: skip
    steps = pq.read_table(out)
    assert set(steps["viable"].to_pylist()) == {0}
    assert set(steps["rule"].to_pylist()) == {"none_viable:best"}


@pytest.mark.skipif(not MMLU.exists(), reason="shared/data/mmlu_pro is not here")
def test_real_mmlu_pro_goes_through_every_stage(tmp_path):
    args = [
        "--set",
        f"synth.questions={MMLU}",
        "--set",
        "synth.limit=28",
        "--set",
        "eval.limit=14",
        "--set",
        "train.min_score=0",
        "--run",
        "mmlu",
    ]
    result = json.loads(sparkctl("run", "--json", *args, data=tmp_path))
    assert {p["n"] for p in result["policies"].values()} == {14}
    steps = pq.read_table(tmp_path / "mmlu" / "steps.1.parquet")
    assert len(steps) == 28
    assert len(set(steps["question_id"].to_pylist())) == 28


def test_the_claim_holds_on_nano(tmp_path):
    """The recipe as it is checked in: SPaRK's tools are more diverse than base's and SFT-on-best's, its accuracy holds."""
    result = json.loads(sparkctl("run", "--json", data=tmp_path))
    base, best, selected, spark = (result["policies"][p] for p in ("base", "sft_best", "sft_selected", "spark"))
    assert {p["n"] for p in (base, best, selected, spark)} == {700}
    assert spark["tool_entropy_ci"][0] > base["tool_entropy_ci"][1]
    assert spark["tool_entropy_ci"][0] > best["tool_entropy_ci"][1]
    assert spark["accuracy"] >= base["accuracy"] - 0.02
    assert 0.85 < base["accuracy"] < 0.95
    assert best["tool_entropy_bits"] < base["tool_entropy_bits"]
