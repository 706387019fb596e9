"""What must hold of the store: whole or not at all, the same bytes for the same rows, provenance, garbage."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.tables_and_fakes import questions_table
from sparkctl.errors import SparkError
from sparkctl.method.ids import digest, digest_path, seed_of
from sparkctl.storage import files as stores
from sparkctl.storage.files import read_table, write_folder, write_table
from sparkctl.storage.store import Store


def test_the_key_scheme_is_pinned():
    """A change here makes every stored artifact unreachable: change it on purpose or not at all."""
    assert digest({"b": [1, None, "ä"], "a": 0.5}) == "ad0b5fe37d2050a3361db635d2212fcf5abedad5461e4cd61387351ca9ffac74"
    assert seed_of(1, "x") == 6401160462665483128


def test_a_folders_digest_sees_names_and_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    before = digest_path(tmp_path / "a")
    (tmp_path / "a" / "x").write_text("2")
    changed = digest_path(tmp_path / "a")
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    assert len({before, changed, digest_path(tmp_path / "a")}) == 3


def test_what_was_written_is_read_back_with_its_provenance(tmp_path):
    path = tmp_path / "q.parquet"
    write_table(questions_table(3), "questions", path, {"stage": "s", "settings": {"x": 1}})
    assert read_table(path, "questions").equals(questions_table(3))
    assert stores.provenance(path) == {"table": "questions", "stage": "s", "settings": {"x": 1}}


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_table(questions_table(3), "questions", tmp_path / name, {"stage": "s"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_nothing_is_left_where_writing_fails(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        (tmp_path / args[1].name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(SparkError, match=r"q\.parquet: cannot be written .*No space left"):
        write_table(questions_table(1), "questions", tmp_path / "q.parquet", {})
    assert list(tmp_path.iterdir()) == []


def test_a_table_against_the_contract_is_not_written(tmp_path):
    with pytest.raises(SparkError, match=r"q\.parquet: column 'src' is missing"):
        write_table(questions_table(1).drop_columns(["src"]), "questions", tmp_path / "q.parquet", {})
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "q.parquet"
    write_table(questions_table(3), "questions", path, {})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SparkError, match=r"q\.parquet: not a readable Parquet file"):
        read_table(path, "questions")


@pytest.mark.parametrize("kind", ["missing", "folder", "text"])
def test_what_is_no_table_is_named(tmp_path, kind):
    path = tmp_path / "q.parquet"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("question_id,question\n1,x\n")
    with pytest.raises(SparkError, match=r"q\.parquet: "):
        read_table(path, "questions")


def test_a_folder_is_moved_into_place_with_its_provenance(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "weights").write_text("w")
    write_folder(tmp_path / "made", tmp_path / "store" / "adapter-1", {"stage": "train"})
    assert stores.provenance(tmp_path / "store" / "adapter-1") == {"stage": "train"}
    assert sorted(p.name for p in (tmp_path / "store" / "adapter-1").iterdir()) == ["provenance.json", "weights"]


def test_links_show_a_runs_artifacts_and_the_rest_is_garbage(tmp_path):
    store = Store(tmp_path, "mine")
    old, new = store.place("scores.1", "a" * 64), store.place("scores.1", "b" * 64)
    for path in (old, new):
        write_table(questions_table(1), "questions", path, {})
    store.link("scores.1", old)
    store.link("scores.1", new)
    half = store.files / "scores.1-cc.parquet.1234.part"
    half.write_text("x")
    fresh = store.files / "scores.1-dd.parquet.5678.part"
    fresh.write_text("being written by another process")
    os.utime(half, (0, 0))
    assert store.linked("scores.1") == new.resolve()
    assert store.garbage() == sorted([old, half])
    Store(tmp_path, "other").link("scores.1", old)
    assert store.garbage() == [half]


@pytest.mark.parametrize("run", ["store", "../up", "a/b", ""])
def test_a_runs_name_cannot_leave_its_folder(tmp_path, run):
    with pytest.raises(SparkError, match="--run"):
        Store(tmp_path, run)


def test_the_log_keeps_what_must_not_enter_tables(tmp_path):
    store = Store(tmp_path, "mine")
    store.log(node="judge.1", seconds=1.5)
    assert store.records()[0]["node"] == "judge.1"
    assert json.loads((tmp_path / "mine" / "runs.jsonl").read_text())["seconds"] == 1.5


def test_what_made_a_table_is_no_part_of_what_it_holds(tmp_path):
    for name, settings in (("a", {"threshold": 6.0}), ("b", {"threshold": 6.1})):
        write_table(questions_table(3), "questions", tmp_path / name, {"settings": settings})
    write_table(questions_table(2), "questions", tmp_path / "c", {"settings": {}})
    one, other, shorter = (stores.digest_artifact(tmp_path / name) for name in "abc")
    assert one == other != shorter
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_an_adapters_digest_leaves_out_its_provenance_and_nothing_else(tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    (made / "weights").write_text("w")
    for name, kl in (("a", 0.1), ("b", 0.2)):
        write_folder(made, tmp_path / name, {"kl": kl})
    (made / "weights").write_text("v")
    write_folder(made, tmp_path / "c", {})
    one, other, retrained = (stores.digest_artifact(tmp_path / name) for name in "abc")
    assert one == other != retrained


def test_a_folder_with_something_in_it_is_never_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(SparkError, match="mine: cannot be written"):
        write_table(questions_table(1), "questions", tmp_path / "mine", {})
    (tmp_path / "made").mkdir()
    with pytest.raises(SparkError, match="mine: cannot be written"):
        write_folder(tmp_path / "made", tmp_path / "mine", {})
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "mine"]


def test_links_to_what_is_no_part_of_the_run_any_more_are_dropped(tmp_path):
    store = Store(tmp_path, "mine")
    for artifact in ("scores.1", "scores.2"):
        write_table(questions_table(1), "questions", store.place(artifact, "a" * 64), {})
        store.link(artifact, store.place(artifact, "a" * 64))
    store.unlink_all_but({"scores.1"})
    assert store.artifacts() == ["scores.1"]


def test_a_line_of_the_log_that_a_kill_cut_short_is_left_out(tmp_path):
    store = Store(tmp_path, "mine")
    store.log(node="synth.1", seconds=1.5)
    with (tmp_path / "mine" / "runs.jsonl").open("ab") as file:
        file.write(b'{"at": 1, "no\xc3')
    assert [record["node"] for record in store.records()] == ["synth.1"]


def test_a_column_whose_name_is_no_utf8_is_a_damaged_file(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"name_of_it": [1]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"name_of_it", b"name_\xff\xfeit"))
    with pytest.raises(SparkError, match=r"t\.parquet: not a readable Parquet file"):
        stores.read_parquet(path)
    assert stores.digest_artifact(path)
    assert stores.provenance(path) is None


@pytest.mark.parametrize("said", ["[" * 100_000, "[]", "7", "{", '{"settings": 7, "inputs": [], "identities": "x"}'])
def test_odd_provenance_is_none_or_has_no_odd_parts(tmp_path, said):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"sparkctl": said}), path)
    assert not stores.provenance(path)
