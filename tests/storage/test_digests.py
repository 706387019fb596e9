"""What must hold of the bytes of the store: what is read is what was written, or it is said, and made again."""

import os
import subprocess

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.command_line import refused, sparkctl
from helpers.tables_and_fakes import ROOT, questions_table
from sparkctl.config.settings import Settings
from sparkctl.errors import SparkError
from sparkctl.pipeline.experiment import Workbench
from sparkctl.pipeline.graph import Node
from sparkctl.pipeline.make import Maker
from sparkctl.stages.stage import Stage
from sparkctl.storage import digests, files
from sparkctl.storage.memory import Memory
from sparkctl.storage.store import Store, is_damaged

SMALL = ("synth.limit=4", "eval.limit=14", "eval.policies=['base']", "synth.steps=2")


@pytest.fixture
def bench(tmp_path, fakes):
    """Opens a workbench on one data folder."""
    path = tmp_path / "questions.parquet"
    files.write_table(questions_table(30), "questions", path, {})
    sets = (*SMALL, f"synth.questions={path}")
    return lambda: Workbench.open("nano", "r", sets, tmp_path / "data", ROOT / "stages")


def flip(path, at=None):
    """Turn one bit, in the middle unless told where; where it is."""
    data = bytearray(path.read_bytes())
    at = len(data) // 2 if at is None else at % len(data)
    data[at] ^= 1
    path.write_bytes(data)


def flip_unnoticed(path):
    """Turn a bit of a table such that it can still be read, and holds something else."""
    before = path.read_bytes()
    for at in range(len(before)):
        flip(path, at)
        try:
            digests._known.clear()
            if pq.read_table(path).num_rows and files.digest_artifact(path):
                return
        except Exception:
            path.write_bytes(before)
    raise AssertionError


def bytes_of(bench):
    return {link.name: link.read_bytes() for link in bench.store.run.glob("*.parquet")}


def ran(fates):
    return [fate.node.name for fate in fates if fate.runs]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of a store, with its digest."""
    path = tmp_path_factory.mktemp("store") / "questions-aa.parquet"
    files.write_table(questions_table(3), "questions", path, {"stage": "s"})
    digests.keep(path)
    return path


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_bit_of_a_table_is_noticed(table, at, bit):
    whole = table.read_bytes()
    data = bytearray(whole)
    data[at % len(data)] ^= 1 << bit
    table.write_bytes(data)
    try:
        assert is_damaged(table)
        with pytest.raises(SparkError, match=r"questions-aa\.parquet: is damaged.*`sparkctl run` makes it again"):
            files.read_table(table, "questions")
    finally:
        table.write_bytes(whole)
    assert files.read_table(table, "questions").equals(questions_table(3))


def test_a_damaged_table_is_named_and_made_again_and_nothing_else(bench, capsys):
    bench().everything()
    whole = bytes_of(bench())
    path = bench().paths("scores", "1")[0]
    flip_unnoticed(path)
    assert {f.node.name: f.why for f in bench().plan()}["judge.1"] == f"{path.name} is damaged"
    capsys.readouterr()
    assert ran(bench().everything()) == ["judge.1"]
    says = [line for line in capsys.readouterr().err.splitlines() if str(path) in line]
    assert len(says) == 1
    assert f"made again, it is now {path.name}.damaged" in says[0]
    assert bytes_of(bench()) == whole
    assert bench().store.garbage() == [path.with_name(f"{path.name}.damaged")]
    assert ran(bench().everything()) == []


@pytest.mark.parametrize("table", ["questions", "candidates", "steps", "answers"])
def test_whatever_table_is_damaged_the_run_ends_as_if_it_were_not(bench, table):
    bench().everything()
    whole = bytes_of(bench())
    flip(bench().paths(table, None)[0])
    bench().everything()
    assert bytes_of(bench()) == whole


def test_who_only_reads_refuses_in_one_line(bench, tmp_path):
    bench().everything()
    data = tmp_path / "data"
    path = bench().paths("scores", "1")[0]
    flip(path)
    says = (f"{path}: is damaged", "`sparkctl run` makes it again")
    refused(sparkctl("show", "scores", "--data", data, "--run", "r"), *says)
    refused(sparkctl("report", "r", "--data", data), *says)
    reads = ("--read", f"questions={data}/r/questions.parquet", "--read", f"candidates={data}/r/candidates.1.parquet")
    scores = ("--read", f"scores={data}/r/scores.1.parquet", "--write", tmp_path / "x.parquet")
    refused(sparkctl("select", "--data", data, "--step", "1", *reads, *scores), *says)
    answers = bench().paths("answers", "base")[0]
    flip(answers)
    refused(sparkctl("compare", data / "r" / "answers.base.parquet", answers, "--data", data), f"{answers}: is damaged")
    assert path.exists()
    assert answers.exists()


def test_a_store_without_digests_is_taken_as_it_is_and_gets_them(bench, tmp_path):
    bench().everything()
    kept = tmp_path / "data" / "store" / ".digests"
    before = {path.name: path.read_text() for path in kept.iterdir()}
    assert len(before) == len(bytes_of(bench())) == len(list(kept.parent.glob("*.parquet")))
    for path in kept.iterdir():
        path.unlink()
    kept.rmdir()
    assert len(bench().table("scores", "1")) == 4 * 9
    assert ran(bench().plan()) == []
    assert not kept.exists(), "who only reads writes nothing"
    assert ran(bench().everything()) == []
    assert {path.name: path.read_text() for path in kept.iterdir()} == before


def test_a_table_without_digest_that_cannot_be_read_is_made_again(bench):
    bench().everything()
    path = bench().paths("scores", "1")[0]
    digests.drop(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert ran(bench().everything()) == ["judge.1"]


def test_sha256sum_can_check_the_store(bench, tmp_path):
    bench().everything()
    store = tmp_path / "data" / "store"
    kept = sorted(str(path.relative_to(store)) for path in (store / ".digests").iterdir())
    check = ["sha256sum", "--check", "--strict", "--quiet", *kept]
    assert subprocess.run(check, cwd=store, capture_output=True, check=False).returncode == 0
    flip(bench().paths("scores", "1")[0])
    assert subprocess.run(check, cwd=store, capture_output=True, check=False).returncode == 1


def test_gc_takes_digests_with_their_artifacts(tmp_path):
    store = Store(tmp_path, "mine")
    used, unused = store.place("scores.1", "a" * 64), store.place("scores.1", "b" * 64)
    for path in (used, unused):
        files.write_table(questions_table(1), "questions", path, {})
        digests.keep(path)
    store.link("scores.1", used)
    sparkctl("gc", "--yes", "--data", tmp_path)
    assert [p.name for p in (store.files / ".digests").iterdir()] == [f"{used.name}.sha256"]
    assert used.exists()


@pytest.mark.parametrize("text", ["", "x", "0" * 64, "0" * 64 + "  x", "\0" * 80])
def test_a_digest_that_is_none_is_taken_anew(table, text):
    digests.place(table).write_text(text)
    assert not is_damaged(table)
    digests.keep(table)
    assert digests.kept(table).endswith("  questions-aa.parquet\n")


def test_what_was_not_touched_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"1")
    monkeypatch.setattr(digests, "_COARSE_S", 0)
    read = []
    monkeypatch.setattr(digests, "_schema", lambda path: read.append(path))
    assert digests.of(path) == digests.of(path)
    assert len(read) == 1
    os.utime(path, (1, 1))
    digests.of(path)
    assert len(read) == 2


def test_what_was_touched_just_now_is_read_again_for_clocks_are_coarse(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"1")
    read = []
    monkeypatch.setattr(digests, "_schema", lambda path: read.append(path))
    digests.of(path), digests.of(path)
    assert len(read) == 2


@pytest.fixture
def training(tmp_path):
    """A node that makes an adapter and a table, different at each run, as trainings on a GPU are; and what makes it."""
    runs = []

    def run(inputs, settings, context):
        runs.append(1)
        folder = context.scratch / "adapter"
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_text(f"weights {len(runs)}")
        return {"adapter": folder, "questions": questions_table(len(runs))}

    stage = Stage("made", 1, Settings, run, "", (), writes=("adapter", "questions"))
    node = Node("made.x", stage, Settings(), {}, {"adapter": "adapter.x", "questions": "updates.x"})
    said = []
    maker = Maker(Store(tmp_path, "r"), Memory(tmp_path / "memory.sqlite"), None, None, warn=said.append)
    return lambda: maker.make([node])[0].runs, maker.store, said


@pytest.mark.parametrize("part", ["adapter_model.safetensors", "provenance.json", None])
def test_a_damaged_adapter_is_made_again_with_what_came_with_it(training, part):
    make, store, said = training
    assert make()
    assert not make()
    adapter, updates = store.linked("adapter.x"), store.linked("updates.x")
    flip(adapter / part if part else updates)
    damaged = adapter if part else updates
    with pytest.raises(SparkError, match="is damaged"):
        digests.check(store.run / ("adapter.x" if part else "updates.x.parquet"))
    assert make()
    assert len(said) == 1
    assert said[0].startswith(f"{damaged}: is damaged")
    # Both are of the second training.
    assert (store.linked("adapter.x") / "adapter_model.safetensors").read_text() == "weights 2"
    assert len(files.read_table(store.linked("updates.x"), "questions")) == 2
    assert damaged.with_name(f"{damaged.name}.damaged").exists()
    assert not make()


def test_an_adapter_that_lacks_a_file_is_damaged(training):
    make, store, _ = training
    make()
    (store.linked("adapter.x") / "adapter_model.safetensors").unlink()
    assert make()
