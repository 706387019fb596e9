"""A damaged memory is moved aside, and what can be read of it goes into a new file: nothing is paid twice that can be read."""

import fcntl
import json
import math
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sparkctl.storage import pages

TABLES = {
    "replies": "CREATE TABLE IF NOT EXISTS replies (digest TEXT PRIMARY KEY, body TEXT, cost_usd REAL) WITHOUT ROWID",
    "paid": "CREATE TABLE IF NOT EXISTS paid (account TEXT PRIMARY KEY, usd REAL) WITHOUT ROWID",
    "recordings": """
        CREATE TABLE IF NOT EXISTS recordings (digest TEXT PRIMARY KEY, tool_name TEXT, query TEXT, observation TEXT,
        observation_ok INTEGER, backend TEXT, recorded_at TEXT) WITHOUT ROWID
    """,
}
"""The tables of a memory. All are WITHOUT ROWID, which `pages` counts on, and differ in their number of columns."""
_KEEP = {
    "replies": "INSERT OR IGNORE INTO replies VALUES (?, ?, ?)",
    # A page that is not in use any more may hold an older sum: the highest was the last.
    "paid": "INSERT INTO paid VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET usd = max(usd, excluded.usd)",
    "recordings": "INSERT OR IGNORE INTO recordings VALUES (?, ?, ?, ?, ?, ?, ?)",
}
_BESIDE = ("", "-wal", "-shm", "-journal")
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_damage(fault: sqlite3.Error) -> bool:
    """Whether the file is damaged; not: it is locked, the disk is full, it may not be read."""
    code = getattr(fault, "sqlite_errorcode", None)
    # A text that is no UTF-8 has no code of its own.
    return type(fault) is sqlite3.DatabaseError or (code or 0) & 0xFF in _CORRUPT or "UTF-8" in str(fault)


def is_cut(path: Path) -> bool:
    """Whether the file is shorter than it says itself, which SQLite does not always notice. Nothing is said while it has a
    log or journal: another process may be moving pages from there."""
    if not path.is_file() or any(Path(f"{path}{log}").exists() for log in ("-wal", "-journal")):
        return False
    with path.open("rb") as file:
        header = file.read(100)
    told = int.from_bytes(header[28:32]) * int.from_bytes(header[16:18])
    return header[24:28] == header[92:96] and 0 < path.stat().st_size < told


def salvage(path: Path, inode: int) -> str:
    """Put a good file in the place of the damaged one, whose inode this is; what was done, in words."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists() or path.stat().st_ino != inode:
            return f"{path}: was damaged; another process has saved what could be read"
        aside = next(p for n in range(1, 10**6) if not (p := path.with_name(f"{path.name}.damaged-{n}")).exists())
        fresh = path.with_name(f"{path.name}.new")
        fresh.unlink(missing_ok=True)
        saved = _filled(fresh, path)
        for suffix in _BESIDE:
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").replace(f"{aside}{suffix}")
        fresh.replace(path)
    told = ", ".join(f"{count} {table}" for table, count in saved.items())
    return f"{path}: was damaged and is now {aside.name}; a new one holds what could be read of it: {told}"


def _filled(fresh: Path, damaged: Path) -> dict[str, int]:
    """Table -> rows that were read from the damaged file and written to the fresh one."""
    with closing(sqlite3.connect(fresh)) as new:
        for create in TABLES.values():
            new.execute(create)
        for row in pages.rows(damaged):
            for table, is_one in _CHECKS.items():
                if (sound := _sound(row, is_one)) is not None:
                    new.execute(_KEEP[table], sound)
        new.commit()
        return {table: new.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


def _sound(row: pages.Row, is_one: Callable[..., bool]) -> tuple[Any, ...] | None:
    """The row, its texts decoded, if it is what it should be."""
    try:
        texts = tuple(cell.decode() if isinstance(cell, bytes) else cell for cell in row)
        return texts if is_one(*texts) else None
    except (ValueError, TypeError, RecursionError):
        return None


_PARTS: dict[str, type] = {"content": str, "completions": list, "text": str, "ok": bool}
"""Of the replies of a judge, a policy and a tool: what the stages read, where it is there."""
_DEAREST = 10**6
"""US dollars. No reply costs more."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def is_reply(name: Any, body: Any, cost: Any) -> bool:
    """Whether a row of `replies` is one. Raises ValueError, TypeError or RecursionError for a body that is no JSON."""
    said = json.loads(body)
    fits = (
        isinstance(said, dict) and said and all(isinstance(said.get(key, kind()), kind) for key, kind in _PARTS.items())
    )
    return isinstance(name, str) and bool(fits) and (cost is None or (_is_number(cost) and 0 <= cost <= _DEAREST))


def is_recording(*row: Any) -> bool:
    """Whether a row of `recordings` is one."""
    return len(row) == 7 and all(isinstance(text, str) for text in (*row[:4], row[5])) and row[4] in (0, 1)


_CHECKS: dict[str, Callable[..., bool]] = {
    "replies": is_reply,
    "paid": lambda account, usd: isinstance(account, str) and _is_number(usd),
    "recordings": is_recording,
}
