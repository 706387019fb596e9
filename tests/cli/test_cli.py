"""What must hold of the command line: bad input is one line, exit code 2, no traceback, nothing written."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from importlib import metadata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.command_line import in_a_process, refused, sparkctl, written
from helpers.tables_and_fakes import ROOT, questions_table
from sparkctl.method import tables
from sparkctl.method.episode import CATEGORIES
from sparkctl.method.tables import TABLES
from sparkctl.report.figures.statistics import RESAMPLES
from sparkctl.storage import files, store


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
        (
            ["eval", "--categories", "math,phisics"],
            f"unknown category 'phisics'; did you mean 'physics'? There are: {', '.join(CATEGORIES)}",
        ),
        (
            ["eval", "--policy", "base", "--policy", "sprak"],
            "'sprak'; did you mean 'spark'? There are: base, sft_best,",
        ),
        (["eval", "--policy", "stages"], "'stages' holds no adapter in peft's format"),
        (
            ["eval", "--policy", "base", "--policy", "spark", "--read", "eval_questions=x", "--write", "y"],
            "eval: --read and --write are for one policy",
        ),
        (
            ["eval", "--policy", "spark", "--read", "eval_questions=x", "--write", "y"],
            "eval: needs --read adapter=FILE",
        ),
        (
            ["eval", "--set", "eval.shots=2", "--set", "eval.shots_from=nowhere.parquet"],
            "eval.shots_from: no file 'nowhere.parquet'; give a Parquet file in MMLU-Pro's schema or hub:",
        ),
        (["run", "--profile", "huge"], "--profile 'huge': unknown; there are: nano, paper"),
        (["run", "--run", "../x"], "--run: '../x' cannot be the name of a file"),
        (["plan", "--data", __file__], "test_cli.py': is a file; give a folder"),
        (["synth", "--set", "synth.policy=./nowhere"], "synth.policy: './nowhere' is no folder"),
        (["run", "--recipes", "nowhere"], "nowhere/synth.toml: cannot be read"),
        (["show", "score"], "unknown table 'score'; did you mean 'scores'?"),
        (["show", "scores"], "this run has no table 'scores' yet; `sparkctl run` makes it"),
        (["path", "scores", "--step", "9"], "no table 'scores.9' yet"),
        (["judge", "--step", "9"], "judge: '9' is not one of them; this recipe has: 1, 2, 3, 4, 5"),
        (["judge", "--read", "candidates=x", "--write", "y"], "judge: needs --read questions=FILE"),
        (
            [
                "select",
                "--step",
                "2",
                *(f"--read={t}=x" for t in ("candidates", "scores", "questions")),
                "--write",
                "y",
            ],
            "select: needs --read steps=FILE",
        ),
        (["judge", "--stpe", "9"], "No such option"),
        (["judge", "--estimate", "--retry-failed"], "judge: --estimate, --reliability and --retry-failed are three"),
        (
            ["judge", "--retry-failed", "--read", "questions=x"],
            "judge: --reliability and --retry-failed are about the run",
        ),
        (["judge", "--estimate", "--write", "x"], "--estimate writes nothing"),
        (["judge", "--set", "judge.rpm=0"], "judge.rpm: Input should be greater than 0"),
        (["judge", "--set", "judge.budget=3"], "judge.budget: unknown setting; did you mean 'budget_usd'?"),
        (
            ["train", "--set", "train.variant.spark.objective=expected"],
            'train: objective = "expected" sums over the fork; set action',
        ),
        (["train", "--set", "train.micro_batch_tokens=0"], "train.micro_batch_tokens: Input should be greater than"),
        (["train", "--audit", "--dry-run"], "train: --audit and --dry-run look at the run as it is"),
        (["train", "--audit", "--policy", "sprak"], "train: 'sprak' is not one of them; this recipe has: sft_best"),
        (["schema", "step"], "unknown table 'step'; did you mean 'steps'?"),
        (
            ["run", "--set", "tools.wikipedia.bakend=live"],
            "tools.wikipedia.bakend: unknown setting; did you mean 'backend'?",
        ),
        (["run", "--set", "tools.search.corpus=nowhere"], "tools.search.corpus: no file 'nowhere'"),
        (["recordings", "export", "x.parquet"], "there are no recordings yet; `sparkctl run` makes them"),
        (["recordings", "import", "nowhere.parquet"], "nowhere.parquet: no such file"),
    ],
)
def test_a_wrong_argument_is_refused(tmp_path, args, says):
    extra = [] if args[0] == "schema" or "--data" in args else ["--data", tmp_path / "data"]
    refused(sparkctl(*args, *extra), says)
    assert written(tmp_path / "data") == []


def test_a_dry_run_says_what_training_takes_and_makes_nothing(tmp_path):
    """Of a policy of which there is only a configuration: no weights are needed."""
    model = tmp_path / "model"
    model.mkdir()
    for path in (ROOT / "src" / "sparkctl" / "nano" / "policy").iterdir():
        if path.suffix != ".safetensors":
            (model / path.name).write_bytes(path.read_bytes())
    args = ["train", "--dry-run", "--policy", "spark", "--data", tmp_path / "data", "--set", f"synth.policy={model}"]
    done = sparkctl(*args, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["spark"]
    # By hand: 96 x 1024 embeddings, tied; three layers.
    assert (found["parameters"], found["trainable"], found["updates"]) == (463_296, 43_776, None)
    assert found["memory"]["weights"] == 463_296 * 4
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
    limited = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048)); from sparkctl.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", limited, "synth", "--step", "1", "--data", tmp_path / "data"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    refused(done, str(tmp_path / "data"))
    assert written(tmp_path / "data") == []


def test_a_read_only_data_folder_is_said(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o555)
    done = in_a_process("synth", "--data", data, preexec_fn=_bound_by_permissions)
    data.chmod(0o755)
    refused(done, str(data))
    assert list(data.iterdir()) == []


def _bound_by_permissions():
    """Root writes everywhere; without CAP_DAC_OVERRIDE (1) in its bounding set (24) it is bound like anybody."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


@pytest.mark.parametrize("told", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_ctrl_c_is_one_line_and_what_was_finished_is_kept(tmp_path, told):
    """So is what a scheduler sends."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "sparkctl", "run", "--data", tmp_path / "data"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(scratch)},
    )
    while not list((tmp_path / "data").glob("store/eval_questions-*.parquet")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(told)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("sparkctl: interrupted; what was finished is kept")
    assert not list((tmp_path / "data").rglob("*.part"))
    assert list((tmp_path / "data").glob("store/questions-*.parquet"))
    assert list(scratch.iterdir()) == []


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
    for command in (
        "synth",
        "judge",
        "select",
        "train",
        "eval",
        "run",
        "plan",
        "score",
        "compare",
        "show",
        "path",
        "schema",
        "gc",
    ):
        done = sparkctl(command, "--help")
        assert done.returncode == 0
        assert "Usage: " in done.stdout


OUTPUTS = {
    "question_id": [1, 2, 3, 4],
    "model_output": ["The answer is (B).", "maybe C", None, "The answer is (D)."],
    "options": [[" one", "one"], ["x", "", "y", "z"], ["a", "b"], ["a", "b", "c"]],
    "answer": ["B", "C", "A", "A"],
    "category": ["law", "law", "art", "art"],
}


def outputs_file(folder, **changes):
    """A Parquet file of four outputs; a column that is changed to None is left out."""
    columns = {name: values for name, values in (OUTPUTS | changes).items() if values is not None}
    pq.write_table(pa.table(columns), folder / "outputs.parquet")
    return folder / "outputs.parquet"


def test_score_prints_and_writes_one_row_per_output(tmp_path):
    file, out = outputs_file(tmp_path, model=["w", "x", "y", "z"]), tmp_path / "out.parquet"
    card = json.loads(sparkctl("score", file, "--write", out, "--json").stdout)
    assert (card["mode"], card["n"], card["micro"], card["macro"]) == ("strict", 4, 0.25, 0.25)
    # Row 2 commits to nothing, row 3 is null, row 4 names a letter beyond its three options.
    assert card["extraction_failed"] == 3
    assert {name: (c["n"], c["accuracy"]) for name, c in card["categories"].items()} == {
        "art": (2, 0.0),
        "law": (2, 0.5),
    }
    assert pq.read_table(out).to_pylist() == [
        {"question_id": 1, "category": "law", "answer_read": "B", "is_correct": True},
        {"question_id": 2, "category": "law", "answer_read": None, "is_correct": False},
        {"question_id": 3, "category": "art", "answer_read": None, "is_correct": False},
        {"question_id": 4, "category": "art", "answer_read": None, "is_correct": False},
    ]
    shown = sparkctl("score", file).stdout
    assert "25.0 (4.6-69.9)" in shown  # Wilson's interval of 1 in 4
    assert "extraction_failed: 3 of 4; they count as wrong." in shown
    # Halves of law's limits, .0945 to .9055 about .5, and of art's, 0 to .6576: .25 - .2027 and .25 + .3863.
    assert "macro average       │ 25.0 (4.6-69.9)" in shown
    assert "outputs to" not in shown


def test_score_says_where_outputs_share_their_questions(tmp_path):
    shown = sparkctl("score", outputs_file(tmp_path, question_id=[1, 1, 2, 2])).stdout
    assert "4 outputs to 2 questions: the intervals are over questions." in shown


def test_score_official_reads_stray_letters_and_writes_the_same_file_again(tmp_path):
    file = outputs_file(tmp_path, category=None)
    for out in ("x.parquet", "y.parquet"):
        card = json.loads(sparkctl("score", file, "--mode", "official", "--write", tmp_path / out, "--json").stdout)
    assert (card["micro"], card["macro"], card["extraction_failed"], card["categories"]) == (0.5, None, 1, {})
    assert pq.read_table(tmp_path / "x.parquet")["answer_read"].to_pylist() == ["B", "C", None, "D"]
    assert (tmp_path / "x.parquet").read_bytes() == (tmp_path / "y.parquet").read_bytes()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_output": None}, "column 'model_output' is missing; needed are: question_id, model_output, options"),
        ({"answer": ["B", "C", "A", "D"]}, "row 4: column 'answer' is 'D', must be one of A to C"),
        ({"answer": ["B", None, "A", "A"]}, "column 'answer' is null in row 2"),
        ({"category": ["law", None, "art", "art"]}, "column 'category' is null in row 2"),
        ({"options": [["a", "b"], ["a"], ["a", None], ["a"]]}, "column 'options' has a null inside a list"),
        (
            {"options": [list("abcd")] * 3 + [list("abcdefghijk")]},
            "row 4: column 'options' has 11 options; give 1 to 10",
        ),
        ({"options": ["a, b"] * 4}, "column 'options' is string, must be list<item: string>"),
        ({"question_id": ["q1", "q2", "q3", "q4"]}, "column 'question_id' is string, must be int64"),
        ({name: pa.array([], pa.string()) for name in OUTPUTS}, "the table is empty; it needs at least one row"),
    ],
)
def test_score_refuses_faulty_outputs(tmp_path, changes, says):
    file = outputs_file(tmp_path, **changes)
    refused(sparkctl("score", file, "--write", tmp_path / "out.parquet"), "outputs.parquet", says)
    assert written(tmp_path) == [file]


@pytest.mark.parametrize("content", [None, b"", b"question_id,answer\n1,A\n", b"PAR1" + b"x" * 90])
def test_score_refuses_what_is_no_parquet(tmp_path, content):
    file = tmp_path / "outputs.parquet"
    if content is not None:
        file.write_bytes(content)
    refused(sparkctl("score", file), "outputs.parquet", "no such file" if content is None else "not a readable Parquet")


def test_score_refuses_text_that_is_not_utf8(tmp_path):
    broken = pa.array([b"\xff\xfe"] * 4, pa.binary())
    broken = pa.StringArray.from_buffers(4, *broken.buffers()[1:])
    refused(sparkctl("score", outputs_file(tmp_path, model_output=broken)), "outputs.parquet", "Invalid UTF8")


def test_score_writes_neither_over_its_input_nor_over_a_folder(tmp_path):
    file = outputs_file(tmp_path)
    before = file.read_bytes()
    refused(sparkctl("score", file, "--write", file), "is the file to score; name another file")
    refused(sparkctl("score", file, "--write", tmp_path), "is a folder; name another file")
    refused(sparkctl("score", file, "--mode", "lenient"), "'lenient' is not one of")
    assert file.read_bytes() == before
    assert written(tmp_path) == [file]


def answers_file(folder, policy, right, **changes):
    """Answers of a policy to the questions 1, 2, ...; `right` says which are correct."""
    rows = [
        {
            "policy": policy,
            "question_id": i + 1,
            "sample_id": 0,
            "category": "math" if i % 2 else "law",
            "tools": ["search"] if policy == "base" else ["search", "cot"],
            "failed_calls": 0,
            "steps": 1,
            "output": "",
            "is_correct": bool(correct),
        }
        | changes
        for i, correct in enumerate(right)
    ]
    pq.write_table(tables.from_rows("answers", rows), folder / f"{policy}.parquet")
    return folder / f"{policy}.parquet"


def test_compare_says_what_the_figures_allow(tmp_path):
    base, spark = answers_file(tmp_path, "base", [0] * 9 + [1] * 3), answers_file(tmp_path, "spark", [1] * 11 + [0])
    found = json.loads(sparkctl("compare", base, spark, "--json").stdout)
    assert (found["a"], found["b"], found["accuracy"]["n"]) == ("base", "spark", 12)
    assert (found["accuracy"]["only_a"], found["accuracy"]["only_b"]) == ([12], list(range(1, 10)))
    assert found["accuracy"]["p"] == pytest.approx(22 / 1024)
    shown = sparkctl("compare", base, spark).stdout
    assert "Accuracy: +66.7 points" in shown
    assert "McNemar's exact test p = 0.021: a difference." in shown
    assert "2,000 resamples, seed 0." in shown
    assert found["resamples"] == RESAMPLES, "as in the report, or the two would contradict each other"
    # Five of law are gained: p = 1/16, and more after Holm's correction.
    assert "Categories: no evidence of a difference in any." in shown
    assert "Tool-choice entropy: 0.00 and 1.03 bits, +1.03 (+1.03 to +1.03): a difference." in shown
    assert "Flipped: 1 questions better under a, 9 better under b" in shown
    same = sparkctl("compare", base, base).stdout
    assert "no question was answered differently" in same
    # None of twelve: 1.96 sqrt(2 / 14 / 14) to either side.
    assert "Accuracy: +0.0 points (-19.8 to +19.8), McNemar's exact test p = 1.000: no evidence" in same


def test_compare_refuses_questions_that_differ_under_the_same_ids(tmp_path):
    paths = []
    for policy, digest in (("base", "ab" * 32), ("spark", "cd" * 32)):
        table = pq.read_table(answers_file(tmp_path, policy, [1, 0]))
        paths.append(tmp_path / f"{policy}-made.parquet")
        files.write_table(table, "answers", paths[-1], {"inputs": {"eval_questions": [digest]}})
    refused(sparkctl("compare", *paths), "base and spark were asked different questions")
    assert sparkctl("compare", paths[0], tmp_path / "spark.parquet").returncode == 0, "nothing says that they differ"


def test_compare_is_the_same_for_the_same_seed(tmp_path):
    base, spark = answers_file(tmp_path, "base", [0, 1] * 20), answers_file(tmp_path, "spark", [1, 1, 0] * 13 + [1])
    uneven = [["search"], ["calculator"]] * 10 + [["search"]] * 20
    made = pq.read_table(spark)
    pq.write_table(made.set_column(made.column_names.index("tools"), "tools", [uneven]), spark)
    runs = [sparkctl("compare", base, spark, "--seed", seed, "--resamples", 300, "--json").stdout for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    one, two = (json.loads(run)["tool_entropy_bits"]["difference_ci"] for run in runs[1:])
    assert one != two


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"right": [1] * 6}, "do not answer the same questions: 4 in both, 0 only in the first, 2 only in the second"),
        ({"category": "art"}, "unknown category 'art' in row 1"),
        ({"category": "math"}, "column 'category' of question_id 1 is 'law' in the first, 'math' in the second"),
        ({"tools": ["search", "hammer"]}, "unknown tools 'hammer' in row 1"),
        ({"question_id": 1}, "duplicate key policy=spark, question_id=1, sample_id=0 (4 rows)"),
    ],
)
def test_compare_refuses_what_cannot_be_paired(tmp_path, changes, says):
    base = answers_file(tmp_path, "base", [1] * 4)
    spark = answers_file(tmp_path, "spark", changes.pop("right", [1] * 4), **changes)
    refused(sparkctl("compare", base, spark, "--resamples", 100), says)


def test_compare_refuses_a_policy_that_the_run_does_not_have(tmp_path):
    base = answers_file(tmp_path, "base", [1] * 4)
    refused(sparkctl("compare", base, "spark", "--data", tmp_path / "data"), "no table 'answers.spark' yet")
    refused(sparkctl("compare", base, "spark.parquet"), "spark.parquet: no such file")
    refused(sparkctl("compare", base, outputs_file(tmp_path)), "column 'policy' is missing from the answers table")


def test_without_a_command_the_help_is_shown_and_a_version_is_known():
    bare = sparkctl()
    assert bare.returncode == 2
    assert "Usage: " in bare.stdout
    assert bare.stderr == ""
    assert sparkctl("--version").stdout.strip() == f"sparkctl {metadata.version('sparkctl')}"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("eval.limt=3", "eval.limt: unknown setting; did you mean 'limit'?"),
        ("eval.polices=['base']", "eval.polices: unknown setting; did you mean 'policies'?"),
        ("train.variant.spark.kll=0.1", "train.variant.spark.kll: unknown setting; did you mean 'kl'?"),
        ("eval.usd_per_million_tokens=5", "eval.usd_per_million_tokens: give two prices, [of a million prompt"),
    ],
)
def test_a_setting_is_named_as_it_is_written(tmp_path, override, says):
    refused(sparkctl("plan", "--data", tmp_path, "--set", override), says)


def test_settings_of_vllm_that_are_no_table_are_refused(tmp_path):
    sets = ["--set", "eval.engine=vllm", "--set", "eval.vllm=3"]
    refused(sparkctl("plan", "--data", tmp_path, *sets), "eval.vllm: ")


def test_a_table_of_another_part_is_refused_with_the_parts_there_are(tmp_path):
    made = store.Store(tmp_path, "default")
    for policy in ("base", "spark"):
        made.link(f"answers.{policy}", answers_file(tmp_path, policy, [1]))
    refused(
        sparkctl("show", "answers", "--policy", "sprak", "--data", tmp_path), "did you mean 'spark'? There are: base,"
    )


def test_a_table_with_many_columns_is_shown_row_by_row_where_the_screen_is_narrow(tmp_path, monkeypatch):
    made = store.Store(tmp_path, "default")
    made.link("answers.base", answers_file(tmp_path, "base", [1, 0]))
    monkeypatch.setenv("COLUMNS", "80")
    narrow = sparkctl("show", "answers", "--data", tmp_path).stdout
    assert narrow.count("│ is_correct ") == 2
    assert max(map(len, narrow.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "400")
    wide = sparkctl("show", "answers", "--data", tmp_path).stdout
    assert wide.count("is_correct") == 1
