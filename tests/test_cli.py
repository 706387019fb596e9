"""What must hold of the command line: bad input is one line, exit code 2, no traceback, nothing written."""

import ctypes
import json
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sparkctl.tables import TABLES
from support import ROOT, questions_table


def sparkctl(*args, cwd=ROOT, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "sparkctl", *map(str, args)], capture_output=True, text=True, cwd=cwd, **kwargs
    )


def refused(done, *says):
    """One line on standard error with these words, exit code 2."""
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("sparkctl: ")
    for words in says:
        assert words in done.stderr, done.stderr


def written(folder):
    """What lies in a data folder."""
    return [p for p in folder.rglob("*") if p.is_file()] if folder.exists() else []


def replaced(name, values):
    table = questions_table(28)
    return table.set_column(table.column_names.index(name), name, values)


FAULTS = {
    "missing column": (lambda: questions_table(28).drop_columns(["options"]), ["column 'options' is missing"]),
    "extra column": (
        lambda: questions_table(28).append_column("note", pa.array(["x"] * 28)),
        ["column 'note' does not belong"],
    ),
    "wrong type": (
        lambda: replaced("answer_index", pa.array(["A"] * 28)),
        ["column 'answer_index' is string, must be int64"],
    ),
    "empty": (lambda: questions_table(28).slice(0, 0), ["the questions table is empty"]),
    "duplicate key": (lambda: replaced("question_id", pa.array([1] * 28)), ["duplicate key question_id=1 (28 rows)"]),
    "unknown category": (lambda: replaced("category", pa.array(["maths"] * 28)), ["unknown category 'maths' in row 1"]),
    "null": (lambda: replaced("question", pa.array([None] * 28, pa.string())), ["column 'question' is null in row 1"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_table_is_refused(tmp_path, fault):
    make, says = FAULTS[fault]
    pq.write_table(make(), tmp_path / "q.parquet")
    done = sparkctl("synth", "--data", tmp_path / "data", "--set", f"synth.questions={tmp_path / 'q.parquet'}")
    refused(done, "q.parquet", *says)
    assert written(tmp_path / "data") == []


@pytest.mark.parametrize("kind", ["truncated", "csv", "missing", "folder"])
def test_what_is_no_parquet_is_refused(tmp_path, kind):
    path = tmp_path / "q.parquet"
    if kind == "folder":
        path.mkdir()
    elif kind == "csv":
        path.write_text("question\nwhy?\n")
    elif kind == "truncated":
        pq.write_table(questions_table(28), path)
        path.write_bytes(path.read_bytes()[:300])
    refused(sparkctl("synth", "--data", tmp_path / "data", "--set", f"synth.questions={path}"), "q.parquet")
    assert written(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["run", "--set", "train.kll=0.1"], "train.kll: unknown setting; did you mean 'kl'?"),
        (["run", "--set", "slect.threshold=3"], "unknown section 'slect'; did you mean 'select'?"),
        (["eval", "--categories", "math,phisics"], "unknown category 'phisics'; did you mean 'physics'?"),
        (["run", "--profile", "huge"], "--profile 'huge': unknown; there are: nano, paper"),
        (["run", "--run", "../x"], "--run '../x'"),
        (["synth", "--set", "synth.policy=./nowhere"], "synth.policy: './nowhere' is no folder"),
        (["run", "--recipes", "nowhere"], "nowhere/synth.toml: cannot be read"),
        (["show", "score"], "unknown table 'score'; did you mean 'scores'?"),
        (["show", "scores"], "this run has no table 'scores' yet; `sparkctl run` makes it"),
        (["path", "scores", "--step", "9"], "no table 'scores.9' yet"),
        (["judge", "--step", "9"], "judge: '9' is not one of them; this recipe has: 1, 2, 3, 4, 5"),
        (["judge", "--read", "candidates=x", "--write", "y"], "judge: needs --read questions=FILE"),
        (["judge", "--stpe", "9"], "No such option"),
        (["schema", "step"], "unknown table 'step'; did you mean 'steps'?"),
    ],
)
def test_a_wrong_argument_is_refused(tmp_path, args, says):
    extra = [] if args[0] == "schema" else ["--data", tmp_path / "data"]
    refused(sparkctl(*args, *extra), says)
    assert written(tmp_path / "data") == []


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_unreadable_model_folder_is_refused(tmp_path, broken):
    model = tmp_path / "model"
    model.mkdir()
    for path in (ROOT / "src" / "sparkctl" / "nano" / "policy").iterdir():
        (model / path.name).write_bytes(b"broken" if path.name == broken else path.read_bytes())
    done = sparkctl(
        "synth", "--step", 1, "--data", tmp_path / "data", "--set", f"synth.policy={model}", "--set", "synth.limit=14"
    )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"sparkctl: synth.policy: model '{model}' cannot be opened")
    assert "Traceback" not in done.stderr
    assert not [p for p in written(tmp_path / "data") if "candidates" in p.name or p.suffix == ".part"]


def test_a_full_disk_is_said_and_nothing_is_half_written(tmp_path):
    """RLIMIT_FSIZE stands for the full disk: every write beyond 2 KiB fails."""
    limited = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048)); from sparkctl.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", limited, "synth", "--data", tmp_path / "data"], capture_output=True, text=True, cwd=ROOT
    )
    refused(done, str(tmp_path / "data"))
    assert written(tmp_path / "data") == []


def test_a_read_only_data_folder_is_said(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o555)
    done = sparkctl("synth", "--data", data, preexec_fn=_bound_by_permissions)
    data.chmod(0o755)
    refused(done, str(data))
    assert list(data.iterdir()) == []


def _bound_by_permissions():
    """Root writes everywhere; without CAP_DAC_OVERRIDE (1) in its bounding set (24) it is bound like anybody."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


def test_ctrl_c_is_one_line_and_what_was_finished_is_kept(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "sparkctl", "run", "--data", tmp_path / "data"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    while not list((tmp_path / "data").glob("store/eval_questions-*.parquet")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("sparkctl: interrupted; what was finished is kept")
    assert not list((tmp_path / "data").rglob("*.part"))
    assert list((tmp_path / "data").glob("store/questions-*.parquet"))


def test_schema_prints_every_table_and_json_for_programs():
    text = sparkctl("schema").stdout
    assert all(f"{name}: made by" in text for name in TABLES)
    tables = json.loads(sparkctl("schema", "--json").stdout)
    assert {c["name"] for c in tables["scores"]} == {c.name for c in TABLES["scores"].columns}


def test_gc_lists_and_deletes_only_what_no_run_links_to(tmp_path):
    data = tmp_path / "data"
    (data / "store").mkdir(parents=True)
    (data / "store" / "scores.1-aa.parquet").write_text("x")
    assert "scores.1-aa.parquet" in sparkctl("gc", "--data", data).stdout
    assert (data / "store" / "scores.1-aa.parquet").exists()
    sparkctl("gc", "--data", data, "--yes")
    assert not (data / "store" / "scores.1-aa.parquet").exists()


def test_every_command_has_help():
    for command in ("synth", "judge", "select", "train", "eval", "run", "plan", "show", "path", "schema", "gc"):
        done = sparkctl(command, "--help")
        assert done.returncode == 0
        assert "Usage: " in done.stdout
