"""What must hold of a damaged memory: it is moved aside as it was found, that is said, and what can be read is kept."""

import json
import random
import sqlite3
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkctl.errors import SparkError
from sparkctl.method.ids import digest
from sparkctl.method.ports import Reply
from sparkctl.storage import pages
from sparkctl.storage.memory import Memory
from sparkctl.storage.salvage import salvage
from sparkctl.tools.recordings import Recording, Recordings

N = 400
PAGE = 4096
NAMES = [digest(i) for i in range(N)]


def body(i):
    return {"content": f"{i} " * 40}


def made(path):
    """A memory of 400 replies at $0.01 each, of which the last is in the log still, and one recording."""
    memory = Memory(path)
    memory.keep({name: Reply(body(i), None, 0.01) for i, name in enumerate(NAMES)}, "judge")
    Recordings(memory).keep([Recording("search", "q", "seen", True, "live", None)])
    memory.close()
    assert not path.with_name(f"{path.name}-wal").exists()
    return path


def patched(path, at, new):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(new)


def altered(path, statement, *values):
    db = sqlite3.connect(path)
    db.execute("PRAGMA writable_schema = 1")
    db.execute(statement, values)
    db.commit()
    db.close()


def first_page_of_rows(path):
    """A leaf: neither the header's page nor a table's root."""
    return path.stat().st_size // PAGE // 2 * PAGE


DAMAGES = {  # what is done -> at least so many of the 400 replies are kept
    "magic": (lambda p: patched(p, 0, bytes(16)), N),
    "header": (lambda p: patched(p, 0, bytes(100)), N),
    "page size": (lambda p: patched(p, 16, b"\xff\xff"), N),
    "count of pages": (lambda p: patched(p, 28, b"\0\0\0\1"), N),
    "schema": (lambda p: patched(p, 100, random.Random(1).randbytes(PAGE - 100)), N),
    "schema zeroed": (lambda p: patched(p, 100, bytes(PAGE - 100)), N),
    "schema's words": (
        lambda p: altered(p, "UPDATE sqlite_master SET sql = 'CREATE RABBIT' WHERE name = 'replies'"),
        N,
    ),
    "root": (lambda p: patched(p, PAGE, random.Random(1).randbytes(PAGE)), N - 60),
    "a leaf": (lambda p: patched(p, first_page_of_rows(p), random.Random(1).randbytes(PAGE)), N - 60),
    "a leaf zeroed": (lambda p: patched(p, first_page_of_rows(p), bytes(PAGE)), N - 60),
    "cut": (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), N // 4),
    "cut within a page": (lambda p: p.write_bytes(p.read_bytes()[: -PAGE // 2]), N - 60),
    "no database": (lambda p: p.write_bytes(b"hello" * 5000), 0),
    "no database, short": (lambda p: p.write_bytes(b"hello"), 0),
    "a reply that is no JSON": (
        lambda p: altered(p, "UPDATE replies SET body = '{' WHERE digest = ?", NAMES[0]),
        N - 1,
    ),
    "a reply that is a list": (
        lambda p: altered(p, "UPDATE replies SET body = '[]' WHERE digest = ?", NAMES[0]),
        N - 1,
    ),
    "a reply that is null": (lambda p: altered(p, "UPDATE replies SET body = NULL WHERE digest = ?", NAMES[0]), N - 1),
    "a reply nested deep": (lambda p: altered(p, "UPDATE replies SET body = ?", "[" * 10**5), 0),
    "no UTF-8": (
        lambda p: altered(p, "UPDATE replies SET body = CAST(x'7bff7d' AS TEXT) WHERE digest = ?", NAMES[0]),
        N - 1,
    ),
    "a price that is a word": (
        lambda p: altered(p, "UPDATE replies SET cost_usd = 'x' WHERE digest = ?", NAMES[0]),
        N - 1,
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_can_be_read_of_a_damaged_memory_is_kept(tmp_path, capsys, damage):
    path = made(tmp_path / "memory.sqlite")
    harm, least = DAMAGES[damage]
    harm(path)
    found = path.read_bytes()
    try:
        known = Memory(path).recall(NAMES)
        said = capsys.readouterr().err
    except SparkError as fault:  # found out in the middle: one line, and the next try goes on
        said = str(fault)
        known = Memory(path).recall(NAMES)
    assert "memory.sqlite: was damaged and is now memory.sqlite.damaged-1; a new one holds" in said
    assert len(said.splitlines()) == 1
    assert f"{len(known)} replies" in said
    assert len(known) >= least
    assert all(reply == Reply(body(NAMES.index(name)), None, 0.01) for name, reply in known.items())
    assert (tmp_path / "memory.sqlite.damaged-1").read_bytes() == found, "as it was found"
    assert sorted(p.name for p in tmp_path.iterdir() if "salvage" in p.name or ".new" in p.name) == []
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


@pytest.mark.parametrize("damage", ["a leaf", "a reply that is no JSON", "header"])
def test_what_was_spent_is_kept_so_that_a_budget_holds(tmp_path, damage):
    path = made(tmp_path / "memory.sqlite")
    DAMAGES[damage][0](path)
    with pytest.raises(SparkError) if damage != "header" else memoryview(b""):
        Memory(path).recall(NAMES)
    assert Memory(path).paid("judge") == pytest.approx(4.0)


def test_recordings_are_kept_too(tmp_path):
    path = made(tmp_path / "memory.sqlite")
    DAMAGES["a leaf"][0](path)
    with pytest.raises(SparkError, match="1 recordings"):
        Memory(path).recall(NAMES)
    assert [r.observation for r in Recordings(Memory(path)).all()] == ["seen"]


def test_a_recording_that_is_none_is_damage_and_one_of_an_unknown_tool_is_not(tmp_path):
    path = made(tmp_path / "memory.sqlite")
    altered(path, "UPDATE recordings SET tool_name = 'of tomorrow'")
    assert Recordings(Memory(path)).all() == []
    altered(path, "UPDATE recordings SET observation = NULL")
    with pytest.raises(SparkError, match="0 recordings"):
        Recordings(Memory(path)).all()


def test_what_is_in_the_log_only_is_kept(tmp_path):
    path = made(tmp_path / "memory.sqlite")
    running = Memory(path)
    running.keep({"f" * 64: Reply({"late": 1})})
    assert path.with_name("memory.sqlite-wal").stat().st_size
    patched(path, first_page_of_rows(path), bytes(PAGE))
    with pytest.raises(SparkError):
        Memory(path).recall(NAMES)
    assert Memory(path).recall(["f" * 64]) == {"f" * 64: Reply({"late": 1})}
    running.close()


def test_an_older_sum_in_a_page_that_is_no_longer_used_does_not_count(tmp_path):
    path = made(tmp_path / "memory.sqlite")
    before = path.read_bytes()[2 * PAGE : 3 * PAGE]  # the root of `paid`
    memory = Memory(path)
    memory.keep({"f" * 64: Reply({}, None, 1.0)}, "judge")
    memory.close()
    path.write_bytes(path.read_bytes() + before)
    DAMAGES["header"][0](path)
    assert Memory(path).paid("judge") == pytest.approx(5.0)


def test_two_that_find_the_damage_at_once_save_once(tmp_path):
    path = made(tmp_path / "memory.sqlite")
    DAMAGES["header"][0](path)
    threads = [threading.Thread(target=lambda: Memory(path).paid("judge")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
    assert Memory(path).paid("judge") == pytest.approx(4.0)


def test_a_locked_or_unreadable_memory_is_not_moved(tmp_path):
    (tmp_path / "memory.sqlite").mkdir()
    with pytest.raises(SparkError, match="cannot be used"):
        Memory(tmp_path / "memory.sqlite").paid("judge")
    assert [p.name for p in tmp_path.iterdir()] == ["memory.sqlite"]


def test_a_reply_with_half_a_surrogate_pair_is_kept(tmp_path):
    memory = Memory(tmp_path / "m.sqlite")
    memory.keep({"a": Reply(json.loads('{"content": "x\\ud800y"}'))})
    assert json.dumps(memory.recall(["a"])["a"].body) == '{"content": "x\\ud800y"}'
    memory.close()


LENGTHS = [0, 1, 480, 489, 490, 900, 1002, 1003, 4091, 4092, 4093, 9000, 20_000]
"""Around where SQLite begins to move what is long into pages of its own."""


@pytest.mark.parametrize("size", [512, 4096, 65536])
def test_pages_hold_what_sqlite_says_they_hold(tmp_path, size):
    path = tmp_path / "x.sqlite"
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA page_size = {size}")
    db.execute("CREATE TABLE t (k TEXT PRIMARY KEY, a TEXT, b REAL, c INTEGER) WITHOUT ROWID")
    numbers = [None, 0, 1, -1, 127, 2**15, -(2**23), 2**31, 2**47, 2**63 - 1]
    wanted = [(f"{i:03}", "x" * n, i / 7, c) for i, (n, c) in enumerate((n, c) for n in LENGTHS for c in numbers)]
    db.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", wanted)
    db.commit()
    db.close()
    found = [(r[0].decode(), r[1].decode(), *r[2:]) for r in pages.rows(path)]
    assert sorted(found) == wanted


@given(st.data())
def test_any_bytes_are_read_to_their_end(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("x") / "x.sqlite"
    made(path)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(whole) - 1))
        new = data.draw(st.binary(min_size=1, max_size=40))
        whole[at : at + len(new)] = new
    path.write_bytes(whole)
    list(pages.rows(path))


def test_a_rollback_journal_goes_aside_with_its_damaged_memory(tmp_path):
    """As is kept on a network disk: left beside the new file it would be rolled back into that."""
    path = tmp_path / "memory.sqlite"
    path.write_bytes(b"no database" * 500)
    (tmp_path / "memory.sqlite-journal").write_bytes(b"j" * 600)
    salvage(path, path.stat().st_ino)
    assert not (tmp_path / "memory.sqlite-journal").exists()
    assert (tmp_path / "memory.sqlite.damaged-1-journal").read_bytes() == b"j" * 600
