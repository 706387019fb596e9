"""What the fuzzer found, each by itself."""

import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.command_line import refused, sparkctl
from sparkctl.config.recipe import default_folder
from sparkctl.errors import SparkError
from sparkctl.method import checks, tables
from sparkctl.models import loading
from sparkctl.storage import salvage
from sparkctl.storage.store import Store
from sparkctl.tools import corpora
from sparkctl.tools.live import semantic_scholar, wikipedia
from sparkctl.tools.live.public_http import Answer
from sparkctl.tools.observation import ToolFailed


@pytest.mark.parametrize(
    ("column", "values"),
    [("answer", [1, 2]), ("model_output", [1.5, 2.5]), ("question_id", [True, False])],
)
def test_a_column_of_another_kind_is_not_read_as_if_it_were(tmp_path, column, values):
    table = {"question_id": [1, 2], "model_output": ["A", "B"], "options": [["x", "y"]] * 2, "answer": ["A", "B"]}
    pq.write_table(pa.table(table | {column: values}), tmp_path / "x.parquet")
    refused(sparkctl("score", tmp_path / "x.parquet"), "x.parquet", f"'{column}' is")


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float64(), pa.decimal128(20, 0)])
def test_whole_numbers_of_any_width_are_read(kind):
    column = tables.Column("n", pa.int64(), "a number")
    assert checks.picked(pa.table({"n": pa.array([3], pa.int64()).cast(kind)}), [column], "x")["n"].to_pylist() == [3]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("judge.md", b"caf\xe9", "judge.md: is not UTF-8"),
        ("synth.md", b" \n", "synth.md: is empty"),
        ("synth.md", b"a\x00b", "synth.md: holds a NUL"),
        ("train.toml", b"x = " + b"[" * 50_000, "train.toml: not valid TOML"),
        ("train.toml", None, "train.toml: is not a file"),
        ("judge.md", None, "judge.md: is not a file"),
    ],
)
def test_recipes_that_cannot_be_read(tmp_path, name, data, says):
    for path in default_folder().iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).unlink()
    if data is None:
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(data)
    refused(sparkctl("plan", "--recipes", tmp_path, "--data", tmp_path / "data"), says)


@pytest.mark.parametrize(
    ("given", "says"), [("train.kl_form=" + "[" * 3000, "train.kl_form"), ("synth.steps=true", "synth.steps")]
)
def test_settings_that_are_none(tmp_path, given, says):
    refused(sparkctl("plan", "--data", tmp_path, "--set", given), says)


def test_a_chat_template_that_is_no_file_does_not_count_as_none(tmp_path):
    (tmp_path / "chat_template.jinja").symlink_to("nowhere")
    with pytest.raises(SparkError, match=r"chat_template.jinja is no file"):
        loading.resolve(str(tmp_path))


@pytest.mark.parametrize(
    "record", ["3", '{"node": {}}', '{"seconds": "x"}', '{"asked": -1}', '{"at": Infinity}', "[" * 9999 + "]" * 9999]
)
def test_a_record_that_no_run_wrote(tmp_path, record):
    store = Store(tmp_path, "r")
    store.log(node="synth.1", why="prompt changed a\tb -> c", seconds=0.5, asked=3, cost_usd=None)
    assert store.records()[0]["asked"] == 3
    with (tmp_path / "r" / "runs.jsonl").open("a") as file:
        file.write(record + "\n" + '{"cut short')
    with pytest.raises(SparkError, match=r"runs.jsonl: line 2 is no record"):
        store.records()


@pytest.mark.parametrize(
    ("body", "cost"), [("{}", 0.0), ('{"content": 3}', 0.0), ('{"content": "x"}', -1.0), ('{"content": "x"}', 1e308)]
)
def test_a_reply_that_none_gave(body, cost):
    assert salvage.is_reply("d", '{"content": "x"}', 0.5)
    assert not salvage.is_reply("d", body, cost)


def test_a_corpus_without_rows(tmp_path):
    pq.write_table(
        pa.table({"title": pa.array([], pa.string()), "text": pa.array([], pa.string())}), tmp_path / "c.parquet"
    )
    with pytest.raises(SparkError, match=r"c.parquet: has no rows"):
        corpora.identity(tmp_path / "c.parquet", "tools.static_kb.corpus")


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (semantic_scholar.read_semantic_scholar, {"total": 3}),
        (wikipedia.read_wikipedia, {"batchcomplete": True, "query": {"page": []}}),
    ],
)
def test_a_service_that_leaves_out_what_it_found_has_not_said_that_there_is_nothing(read, said):
    body = json.dumps(said).encode()
    with pytest.raises(ToolFailed, match="another format"):
        read(Answer(200, {"content-type": "application/json"}, body), 3)


def test_a_tokenizer_whose_longest_prompt_is_no_number_is_refused(tmp_path):
    """It was a traceback at the first prompt."""
    folder = shutil.copytree(loading.resolve("nano"), tmp_path / "policy")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": "many"}))
    with pytest.raises(SparkError, match=r"tokenizer_config.json: model_max_length is 'many', not a number"):
        loading.open_tokenizer(str(folder))


def test_an_unknown_category_names_its_setting(tmp_path):
    done = sparkctl("plan", "--data", tmp_path / "data", "--set", "eval.categories=['ecology']")
    refused(done, "eval.categories: unknown category 'ecology'")
