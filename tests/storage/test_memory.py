"""What must hold of memory: nothing is asked twice, failures are not kept, order holds, chunks are stable."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkctl.errors import SparkError
from sparkctl.method.ports import Reply
from sparkctl.storage.memory import Memory, lazy, remembered, remembered_singly


class Echo:
    """Answers with its request, counting; fails for what is in `failing`; stops at the `dies_at`-th call."""

    def __init__(self, failing=(), dies_at=None):
        self.calls = []
        self.failing = failing
        self.dies_at = dies_at

    def __call__(self, requests):
        if len(self.calls) == self.dies_at:
            raise KeyboardInterrupt
        self.calls.append([r["x"] for r in requests])
        return [Reply(None, "no") if r["x"] in self.failing else Reply({"y": r["x"]}, None, 0.5) for r in requests]


def ask(port, values):
    return [r.body["y"] if r.body else r.error for r in port([{"x": v} for v in values])]


@pytest.fixture
def memory(tmp_path):
    opened = Memory(tmp_path / "memory.sqlite")
    yield opened
    opened.close()


def test_what_was_answered_is_never_asked_again(memory):
    echo = Echo()
    port = remembered(echo, memory, "s", chunk=10)
    assert ask(port, [1, 2]) == [1, 2]
    assert ask(port, [2, 3, 1]) == [2, 3, 1]
    assert echo.calls == [[1, 2], [3]]


def test_equal_requests_are_asked_once(memory):
    echo = Echo()
    assert ask(remembered(echo, memory, "s", chunk=10), [5, 5, 5]) == [5, 5, 5]
    assert echo.calls == [[5]]


def test_a_failure_is_given_back_but_not_remembered(memory):
    echo = Echo(failing=[2])
    port = remembered(echo, memory, "s", chunk=10)
    assert ask(port, [1, 2]) == [1, "no"]
    echo.failing = ()
    assert ask(port, [1, 2]) == [1, 2]
    assert echo.calls == [[1, 2], [2]]


def test_another_scope_does_not_share_replies(memory):
    one, other = Echo(), Echo()
    ask(remembered(one, memory, "model a", chunk=10), [1])
    ask(remembered(other, memory, "model b", chunk=10), [1])
    assert other.calls == [[1]]


def test_cost_is_remembered(memory):
    port = remembered(Echo(), memory, "s", chunk=10)
    port([{"x": 1}])
    assert port([{"x": 1}])[0].cost_usd == 0.5


def test_after_a_kill_the_model_gets_the_same_chunks(memory):
    """A batched model gives the same bytes only for the same batch; so a chunk is kept whole or not at all."""
    undisturbed, dying = Echo(), Echo(dies_at=2)
    with pytest.raises(KeyboardInterrupt):
        ask(remembered(dying, memory, "s", chunk=3), range(10))
    resumed = Echo()
    ask(remembered(resumed, memory, "s", chunk=3), range(10))
    ask(remembered(undisturbed, memory, "other", chunk=3), range(10))
    assert dying.calls + resumed.calls == undisturbed.calls


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 5))
def test_order_holds_whatever_the_chunk(values, chunk):
    memory = Memory(Path(":memory:"))
    assert ask(remembered(Echo(), memory, "s", chunk=chunk), values) == values
    memory.close()


def test_every_request_is_watched_and_whether_it_was_remembered(memory):
    watched = []
    port = remembered(Echo(), memory, "s", chunk=2, watch=lambda n, known: watched.append((n, known)))
    ask(port, [1, 2, 3])
    ask(port, [2, 3, 4])
    assert watched == [(2, 0), (1, 0), (2, 2), (1, 0)]


def test_a_lazy_port_is_opened_once_and_only_when_asked():
    opened = []
    port = lazy(lambda: opened.append(1) or Echo())
    assert not opened
    port([{"x": 1}])
    port([{"x": 2}])
    assert opened == [1]


def test_a_file_that_cannot_be_used_is_named(tmp_path):
    path = tmp_path / "memory.sqlite"
    sqlite3.connect(path).execute("CREATE TABLE replies (x)").connection.close()
    with pytest.raises(SparkError, match=r"memory\.sqlite: the memory of replies cannot be used"):
        Memory(path).recall(["x"])


def test_two_processes_may_share_the_file(tmp_path):
    one, two = Memory(tmp_path / "m.sqlite"), Memory(tmp_path / "m.sqlite")
    ask(remembered(Echo(), one, "s", chunk=1), [1])
    echo = Echo()
    assert ask(remembered(echo, two, "s", chunk=1), [1]) == [1]
    assert echo.calls == []
    assert sqlite3.connect(tmp_path / "m.sqlite").execute("PRAGMA journal_mode").fetchone() == ("wal",)
    one.close()
    two.close()


class Stream(Echo):
    """Gives the replies one by one, the last request first; stops at the `dies_at`-th."""

    def __call__(self, requests, arrived):
        for i in reversed(range(len(requests))):
            arrived(i, super().__call__(requests[i : i + 1])[0])


def singly(port, memory, **kwargs):
    return remembered_singly(port, memory, "s", account="judge", **kwargs)


def test_singly_each_reply_is_kept_as_it_comes(memory):
    stream = Stream(dies_at=2)
    with pytest.raises(KeyboardInterrupt):
        ask(singly(stream, memory), [1, 2, 3, 4])
    assert stream.calls == [[4], [3]]
    stream.dies_at = None
    assert ask(singly(stream, memory), [1, 2, 3, 4]) == [1, 2, 3, 4]
    assert stream.calls == [[4], [3], [2], [1]]


def test_singly_equal_requests_are_asked_once_and_keep_their_places(memory):
    stream, watched = Stream(failing=[2]), []
    port = singly(stream, memory, watch=lambda *seen: watched.append(seen))
    assert ask(port, [1, 2, 1, 3, 2]) == [1, "no", 1, 3, "no"]
    assert stream.calls == [[3], [2], [1]]
    assert watched == [(1, 0, 0.5), (2, 0, None), (2, 0, 0.5)]
    watched.clear()
    assert ask(port, [1, 2, 1, 3]) == [1, "no", 1, 3]
    assert watched == [(3, 3), (1, 0, None)]


def test_singly_another_scope_does_not_share_replies(memory):
    stream = Stream()
    for scope in ("model a", "model b"):
        ask(remembered_singly(stream, memory, scope, account="judge"), [1])
    assert stream.calls == [[1], [1]]


def test_what_was_paid_is_booked_with_the_reply_failures_too(memory):
    def port(requests, arrived):
        arrived(0, Reply({"y": 1}, None, 0.5))
        arrived(1, Reply(None, "not JSON", 0.25))
        arrived(2, Reply({"y": 3}, None, None))

    assert memory.paid("judge") == 0.0
    ask(singly(port, memory), [1, 2, 3])
    assert (memory.paid("judge"), memory.paid("another")) == (0.75, 0.0)
    ask(remembered(Echo(), memory, "policy", chunk=2), [1, 2])
    assert memory.paid("judge") == 0.75, "a policy is not booked on the judge"
