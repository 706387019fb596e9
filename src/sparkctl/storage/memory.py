"""The narrow doors to the outer world: a port takes a list of requests and gives a list of replies, in order.

A request and a reply's body are JSON-able dicts, so that every reply can be kept in one SQLite file under the digest
of its request. Resuming is remembering: a killed stage starts over and is answered from here. Failures are never kept.
"""

import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from sparkctl.errors import SparkError
from sparkctl.method import masking
from sparkctl.method.ids import digest
from sparkctl.method.plain import say
from sparkctl.method.ports import Port, Reply, Request, StreamingPort, Watch
from sparkctl.storage import disks
from sparkctl.storage.salvage import TABLES, is_cut, is_damage, is_reply, salvage


class Memory:
    """Replies by digest in one SQLite file, safe against `kill -9` and for several processes at once.

    It has a write-ahead log; on a disk that several machines may share it has a rollback journal, which is slower.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _db(self) -> sqlite3.Connection:
        """Opened at its first use: a run that asks nothing writes nothing. A damaged file is replaced, and that is said."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._connected()
        except sqlite3.Error as fault:
            if not is_damage(fault):
                raise
            say(salvage(self.path, self.path.stat().st_ino), sys.stderr)
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        if is_cut(self.path):
            raise sqlite3.DatabaseError("its end is missing")
        db = sqlite3.connect(self.path, timeout=60)
        try:
            _set_journal(db, self.path)
            for table in ("replies", "paid"):
                db.execute(TABLES[table])
        except sqlite3.Error:
            db.close()
            raise
        self._inode = self.path.stat().st_ino if self.path.exists() else 0
        return db

    def recall(self, digests: Sequence[str]) -> dict[str, Reply]:
        """The replies that are known, by digest."""
        known: dict[str, Reply] = {}
        with self.opened() as db:
            for i in range(0, len(digests), 500):
                part = digests[i : i + 500]
                marks = ",".join("?" * len(part))
                rows = db.execute(f"SELECT digest, body, cost_usd FROM replies WHERE digest IN ({marks})", part)
                known |= {row[0]: _reply(*row) for row in rows}
        return known

    def keep(self, replies: dict[str, Reply], account: str | None = None) -> None:
        """Store replies in one transaction: all or none survive a crash. Failures are not stored, but what they cost is
        booked on `account` like the rest."""
        good = {name: reply for name, reply in replies.items() if reply.error is None}
        rows = [(name, _dumped(r.body), r.cost_usd) for name, r in good.items()]
        cost = sum(reply.cost_usd or 0.0 for reply in replies.values())
        with self.opened() as db, db:
            db.executemany("INSERT OR IGNORE INTO replies VALUES (?, ?, ?)", rows)
            if account and cost:
                add = "INSERT INTO paid VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET usd = usd + excluded.usd"
                db.execute(add, (account, cost))

    def paid(self, account: str) -> float:
        """US dollars that were ever booked on an account, failed calls included."""
        with self.opened() as db:
            row = db.execute("SELECT usd FROM paid WHERE account = ?", (account,)).fetchone()
        return float(row[0]) if row else 0.0

    def close(self) -> None:
        """Close the file, if it was opened."""
        if "_db" in vars(self):
            self._db.close()
            del self._db

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """The database, opened at its first use; its faults become a SparkError that names the file. Where it is damaged,
        what can be read of it is saved first."""
        try:
            yield self._db
        except sqlite3.Error as fault:
            if is_damage(fault):
                self.close()
                said = salvage(self.path, self._inode)
                raise SparkError(f"{said}; the same command goes on with that") from None
            raise SparkError(
                f"{self.path}: the memory of replies cannot be used ({fault}); check disk space and permissions, or move the file away"
            ) from None


def _set_journal(db: sqlite3.Connection, path: Path) -> None:
    if disks.shared(path):
        # Left behind by a local disk, a write-ahead log is put away: alone, for then it needs no shared memory.
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("PRAGMA locking_mode=NORMAL")
        db.execute("PRAGMA synchronous=FULL")
        return
    db.execute("PRAGMA journal_mode=WAL")
    # Safe against a killed process; only a power cut may lose the last replies, never the file. Waiting for the
    # disk after each reply would halve the rate of a fast judge.
    db.execute("PRAGMA synchronous=NORMAL")


def _dumped(body: Any) -> str:
    """JSON in UTF-8; in ASCII where a text holds half of a surrogate pair, as answers may."""
    text = json.dumps(body, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(body)
    return text


def _reply(name: str, body: str, cost: float | None) -> Reply:
    """A row of the memory. One that was never put there so is damage like any other."""
    try:
        if is_reply(name, body, cost):
            return without_keys(Reply(json.loads(body), None, cost))  # of an older version, they may hold some
    except (ValueError, TypeError, RecursionError):
        pass
    raise sqlite3.DatabaseError("a reply that is none")


def without_keys(reply: Reply) -> Reply:
    """The reply as it may be kept and told. Of a completion in which a key is masked no tokens are left, for they would
    spell it: `masked` is then true, and `sampled` says how many there were."""
    body, error = masking.cleaned(reply.body, "replies"), masking.cleaned(reply.error, "errors of replies")
    if body and isinstance(completions := body.get("completions"), list):
        for before, after in zip((reply.body or {})["completions"], completions, strict=True):
            if after["text"] != before["text"]:
                after |= {"ids": [], "logprobs": [], "masked": True, "sampled": len(before["ids"])}
    return Reply(body, error, reply.cost_usd)


def remembered(port: Port, memory: Memory, scope: str, *, chunk: int, watch: Watch = lambda n, known: None) -> Port:
    """The port, asked only what memory does not hold; equal requests are asked once.

    `scope` names what answers (model, its bytes, back end) and enters every digest. The list is cut into chunks of
    `chunk` requests *before* memory is consulted, and a chunk is stored in one transaction: so a run that was killed
    puts the same chunks to the model as one that was not, and a batched model gives the same bytes.
    """

    def ask(requests: Sequence[Request]) -> list[Reply]:
        replies: list[Reply] = []
        for i in range(0, len(requests), chunk):
            part = requests[i : i + chunk]
            names = [digest([scope, request]) for request in part]
            known = memory.recall(names)
            replies += _complete(port, memory, names, part, known)
            watch(len(part), sum(name in known for name in names))
        return replies

    return ask


def _complete(
    port: Port, memory: Memory, names: Sequence[str], requests: Sequence[Request], known: Mapping[str, Reply]
) -> list[Reply]:
    """The replies in order: known ones, and those asked for now, which are kept."""
    missing = {name: request for name, request in zip(names, requests, strict=True) if name not in known}
    fresh = map(without_keys, port(list(missing.values()))) if missing else ()
    answered = dict(zip(missing, fresh, strict=True))
    memory.keep(answered)
    return [known[name] if name in known else answered[name] for name in names]


def remembered_singly(
    port: StreamingPort,
    memory: Memory,
    scope: str,
    *,
    account: str,
    watch: Watch = lambda n, known, cost_usd=0.0: None,
) -> Port:
    """Like `remembered`, for requests whose replies do not depend on one another: each is kept as it comes.

    A kill loses no more than the calls that were in flight. `account` is what they are booked on.
    """

    def ask(requests: Sequence[Request]) -> list[Reply]:
        names = [digest([scope, request]) for request in requests]
        replies = memory.recall(list(dict.fromkeys(names)))
        asked_for = Counter(names)
        if known := sum(asked_for[name] for name in replies):
            watch(known, known)
        missing = {name: request for name, request in zip(names, requests, strict=True) if name not in replies}
        waiting = list(missing)

        def arrived(i: int, reply: Reply) -> None:
            name, reply = waiting[i], without_keys(reply)
            memory.keep({name: reply}, account)
            replies[name] = reply
            watch(asked_for[name], 0, reply.cost_usd)

        if missing:
            port(list(missing.values()), arrived)
        return [replies[name] for name in names]

    return ask


def lazy(open_port: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """A port that is opened at its first request: a run answered from memory loads no model."""
    opened: list[Callable[..., Any]] = []

    def ask(*args: Any) -> Any:
        if not opened:
            opened.append(open_port())
        return opened[0](*args)

    return ask
