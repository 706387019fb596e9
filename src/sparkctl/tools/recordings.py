"""What tools were asked and what they answered, one row per tool and query: shared by all rollouts, shipped as Parquet.

Recordings are what `backend = "replay"` answers from, and nothing else: a data set that brings its recordings is made
again to the same tables without the services that it was made with. Each answer that a stage was given is recorded;
where a tool has answered the same query in two ways (another back end, another day), the latest answer given counts.
Calls that failed are not recorded.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sparkctl.errors import SparkError, did_you_mean
from sparkctl.method import masking, tables
from sparkctl.method.episode import TOOLS
from sparkctl.method.ids import digest
from sparkctl.storage import files
from sparkctl.storage.memory import Memory
from sparkctl.storage.salvage import TABLES, is_recording

_KEEP = """
    INSERT INTO recordings VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET
    observation = excluded.observation, observation_ok = excluded.observation_ok, backend = excluded.backend,
    recorded_at = excluded.recorded_at
    WHERE observation <> excluded.observation OR observation_ok <> excluded.observation_ok
"""


class Recording(NamedTuple):
    """A row of the recordings table."""

    tool_name: str
    query: str
    observation: str
    observation_ok: bool
    backend: str
    recorded_at: str | None
    """UTC, as 2026-01-31T12:00:00Z; None where the answer does not depend on the day."""


@dataclass(frozen=True)
class Imported:
    """How many recordings an import has added, replaced, and found to be there already."""

    new: int
    replaced: int
    known: int


@dataclass(frozen=True)
class Recordings:
    """The recordings in a memory of replies."""

    memory: Memory

    def keep(self, recordings: Iterable[Recording]) -> None:
        """Store in one transaction, keys masked; what is there and says something else is replaced."""
        clean = [Recording(**masking.cleaned(r._asdict(), "recordings")) for r in recordings]
        rows = [(_key(r.tool_name, r.query), *r) for r in clean]
        with self._database() as database, database:
            database.executemany(_KEEP, rows)

    def recall(self, tool: str, queries: Iterable[str]) -> dict[str, Recording]:
        """Query -> its recording, where there is one."""
        keys = list(dict.fromkeys(_key(tool, query) for query in queries))
        return {r.query: r for r in self._picked(keys)}

    def all(self, tool: str | None = None) -> list[Recording]:
        """Those of a tool, or of all in the order of the action set; queries in order."""
        if not self.memory.path.exists():
            return []  # looking makes no file
        chosen, named = ("", ()) if tool is None else ("WHERE tool_name = ?", (tool,))
        with self._database() as database:
            found = [_recording(row) for row in database.execute(f"SELECT * FROM recordings {chosen}", named)]
        known = [r for r in found if r.tool_name in TOOLS]  # a later version may have more tools
        return sorted(known, key=lambda r: (TOOLS.index(r.tool_name), r.query))

    def identity(self, tool: str) -> str:
        """What tells the recordings of a tool from others: their digest."""
        return digest([[r.query, r.observation, r.observation_ok] for r in self.all(tool)])

    def write(self, path: Path, tool: str | None = None) -> int:
        """Write them to a Parquet file; how many. The same recordings give the same bytes."""
        if tool is not None and tool not in TOOLS:
            raise SparkError(f"--tool '{tool}': unknown{did_you_mean(tool, TOOLS)}")
        rows = [r._asdict() for r in self.all(tool)]
        if not rows:
            of = f" of {tool}" if tool else ""
            raise SparkError(f"{self.memory.path}: there are no recordings{of} yet; `sparkctl run` makes them")
        files.write_table(tables.from_rows("recordings", rows), "recordings", path, {})
        return len(rows)

    def read(self, path: Path, *, replace: bool = False) -> Imported:
        """Add those of a Parquet file. Those that say otherwise than what is there are refused, all or none, unless
        `replace`."""
        given = [Recording(**row) for row in files.read_table(path, "recordings").to_pylist()]
        if odd := next((r for r in given if r.query != r.query.strip()), None):
            raise SparkError(f"{path}: column 'query' has blanks around {odd.query[:40]!r}; strip it")
        known = {(r.tool_name, r.query): r for r in self._picked([_key(r.tool_name, r.query) for r in given])}
        there = [known.get((r.tool_name, r.query)) for r in given]
        other = [new for new, old in zip(given, there, strict=True) if old and _said(old) != _said(new)]
        if other and not replace:
            first = f"{other[0].tool_name} '{other[0].query[:40]}'"
            raise SparkError(
                f"{path}: {len(other)} of {len(given)} recordings say otherwise than what is there, the first of "
                f"{first}; pass --replace to take those of the file"
            )
        self.keep(given)
        new = there.count(None)
        return Imported(new, len(other), len(given) - new - len(other))

    def _picked(self, keys: Sequence[str]) -> list[Recording]:
        found: list[Recording] = []
        with self._database() as database:
            for i in range(0, len(keys), 500):
                part = keys[i : i + 500]
                marks = ",".join("?" * len(part))
                rows = database.execute(f"SELECT * FROM recordings WHERE digest IN ({marks})", part)
                found += [_recording(row) for row in rows]
        return found

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with self.memory.opened() as database:
            database.execute(TABLES["recordings"])
            yield database


def _key(tool: str, query: str) -> str:
    return digest([tool, query])


def _said(recording: Recording) -> tuple[str, bool]:
    return recording.observation, recording.observation_ok


def _recording(row: tuple[str, str, str, str, int, str, str | None]) -> Recording:
    if not is_recording(*row):
        raise sqlite3.DatabaseError("a recording that is none")
    _, tool, query, observation, ok, backend, at = row
    return Recording(tool, query, observation, bool(ok), backend, at)
