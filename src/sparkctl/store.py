"""Artifacts by key: written whole or not at all, with what made them in the footer; links give a run's view by name.

data/store/<artifact>-<key>.parquet    a table          (an adapter is a folder of the same name)
data/store/.digests/<the same>.sha256  SHA-256 of its bytes, checked when it is read
data/<run>/<artifact>.parquet          link to the one that this run uses
data/<run>/runs.jsonl                  wall time of each stage: what must not enter the tables
"""

import contextlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sparkctl import digests, masking, names, tables
from sparkctl.digests import PROVENANCE, UNREADABLE
from sparkctl.errors import SparkError

_FOOTER = b"sparkctl"
_ABANDONED_S = 3600
_PARTS = ("settings", "inputs", "identities")
"""Of provenance, those that hold names and values; a file from elsewhere may hold anything there."""
_WRITTEN = ("thought", "action_query")
_TOKENS = ("thought_ids", "thought_logprobs", "action_ids", "action_logprobs")
"""Of candidates: what the policy wrote as text, and as tokens."""
KEY_LENGTH = 20
"""Hex digits of a key in a file name: 80 bits."""


class Store:
    """The folder of artifacts and one run's links into it."""

    def __init__(self, root: Path, run: str) -> None:
        if names.checked(run, "--run") in ("store", "cache", "memory"):
            raise SparkError(f"--run: '{run}' is a name of sparkctl's own in the data folder; take another")
        self.root = root
        self.files = root / "store"
        self.run = root / run

    def place(self, artifact: str, key: str) -> Path:
        """Where an artifact of this key lies once it is complete."""
        return self.files / _file_name(artifact, f"-{key[:KEY_LENGTH]}")

    def checkpoint(self, node: str, key: str) -> Path:
        """Where a node of this key may leave what it needs to go on after a kill."""
        return self.files / f"{node}-{key[:KEY_LENGTH]}.checkpoint"

    def linked(self, artifact: str) -> Path | None:
        """The artifact that this run used last, or None."""
        link = self.run / _file_name(artifact)
        return link.resolve() if link.exists() else None

    def artifacts(self) -> list[str]:
        """Names of the artifacts that this run links to, rounds in their order."""
        names = [link.name.removesuffix(".parquet") for link in self.run.glob("[!.]*") if link.is_symlink()]
        return sorted(names, key=lambda name: (name.partition(".")[0], len(name), name))

    def link(self, artifact: str, target: Path) -> None:
        """Make the run's name point to an artifact, atomically."""
        self.run.mkdir(parents=True, exist_ok=True)
        temporary = self.run / f".{uuid.uuid4().hex}"
        temporary.symlink_to(os.path.relpath(target, self.run))
        temporary.replace(self.run / _file_name(artifact))

    def log(self, **record: Any) -> None:
        """Append a line to the run's log of wall times."""
        self.run.mkdir(parents=True, exist_ok=True)
        with (self.run / "runs.jsonl").open("a") as file:
            file.write(json.dumps({"at": round(time.time(), 3)} | masking.cleaned(record)) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """The run's log of wall times, oldest first; a line that a kill cut short is left out, one that `log` never wrote is
        a SparkError."""
        path = self.run / "runs.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        found = {number: record for number, line in enumerate(lines, 1) if (record := _json(line)) is not None}
        if odd := next((number for number, record in found.items() if not _is_record(record)), None):
            raise SparkError(f"{path}: line {odd} is no record of sparkctl's; delete that line")
        return list(found.values())

    def garbage(self) -> list[Path]:
        """Artifacts that no run links to, and what a killed process left half written."""
        used = {link.resolve() for link in self.root.glob("*/[!.]*") if link.is_symlink()}
        return sorted(path for path in self.files.glob("[!.]*") if path.resolve() not in used and not _under_way(path))

    def discard(self, path: Path) -> None:
        """Delete an artifact, and its digest with it."""
        remove(path)
        digests.drop(path)

    def unlink_all_but(self, artifacts: Collection[str]) -> None:
        """Drop links to what is no part of the run any more, such as rounds 4 and 5 after a run of three."""
        kept = {_file_name(artifact) for artifact in artifacts}
        for link in self.run.glob("[!.]*"):
            if link.is_symlink() and link.name not in kept:
                link.unlink()


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
    except RecursionError:
        return "nested by the thousand"


_MOST = 10**12
"""No time, count or price of a record is larger."""


def _is_record(record: Any) -> bool:
    """Whether it has the shape of what `log` writes: what a report adds up are numbers, and names can be printed."""
    if not isinstance(record, dict) or not all(name.isprintable() for name in record):
        return False
    numbers = [record.get(name, 0) for name in ("at", "seconds", "asked", "remembered", "cost_usd")]
    node, why = record.get("node", ""), record.get("why", "")
    named = isinstance(node, str) and node.isprintable() and isinstance(why, str)
    return named and all(_is_amount(number) for number in numbers if number is not None)


def _is_amount(number: Any) -> bool:
    return type(number) in (int, float) and 0 <= number <= _MOST


def _under_way(path: Path) -> bool:
    """Whether another process may be writing this now: not finished, and touched within the hour."""
    return path.name.endswith((".part", ".checkpoint")) and time.time() - path.stat().st_mtime < _ABANDONED_S


def digest_artifact(path: Path) -> str:
    """Hex SHA-256 of what an artifact holds, which keys are made of."""
    return digests.of(path).holds


def is_damaged(path: Path) -> bool:
    """Whether an artifact is not what was written. Of a table without a digest, whether it cannot be read."""
    if path.is_dir() or digests.kept(path) is not None:
        return digests.is_other(path)
    try:
        read_parquet(path)
    except SparkError:
        return True
    return False


def set_aside(path: Path) -> Path:
    """Move a damaged artifact out of the way, as it was found; where to. `gc` removes it."""
    aside = path.with_name(f"{path.name}.damaged")
    remove(aside)
    path.replace(aside)
    digests.drop(path)
    return aside


def _file_name(artifact: str, key: str = "") -> str:
    # An adapter is a folder that peft opens as it is; all else is Parquet.
    return artifact + key + ("" if artifact.startswith("adapter") else ".parquet")


def write_table(table: pa.Table, name: str, path: Path, provenance: dict[str, Any]) -> None:
    """Check a table against the contract and write it to `path` in one move. The same rows give the same bytes."""
    table = tables.check(table, name, f"what would be {path.name}", may_be_empty=True)
    write_parquet(_without_keys(table, name), path, {"table": name} | provenance)


def write_parquet(table: pa.Table, path: Path, provenance: dict[str, Any]) -> None:
    """Write a table, of the contract or not, to `path` in one move, with what made it in the footer."""
    footer = {_FOOTER: json.dumps(masking.cleaned(provenance), sort_keys=True).encode()}
    table = _masked(table, str(provenance.get("table") or provenance.get("report") or path.name))
    with whole(path) as temporary:
        pq.write_table(table.replace_schema_metadata(footer), temporary, compression="zstd")


def write_text(text: str, path: Path) -> None:
    """Write a text to `path` in one move."""
    with whole(path) as temporary:
        temporary.write_text(masking.masked(text, path.name), encoding="utf-8")


def write_folder(source: Path, path: Path, provenance: dict[str, Any]) -> None:
    """Move a finished folder to `path` in one move, with its provenance beside the files. What is there stays."""
    if (path / PROVENANCE).exists():
        return  # of the same key, and so complete: another process was faster
    with whole(path) as temporary:
        shutil.copytree(source, temporary, copy_function=shutil.copyfile)  # safetensors lets nobody else read its files
        (temporary / PROVENANCE).write_text(json.dumps(masking.cleaned(provenance), sort_keys=True, indent=1))


def read_table(path: Path, name: str, *, may_be_empty: bool = False) -> pa.Table:
    """A checked table from a Parquet file, keys in its texts masked: what is asked, judged and trained on holds none, be it
    made here or not. Every fault is a SparkError that names the file."""
    table = tables.check(read_parquet(path), name, str(path), may_be_empty=may_be_empty)
    return _masked(_without_keys(table, name), name)


def _masked(table: pa.Table, name: str) -> pa.Table:
    """The table with the keys in its texts masked; the same object where it holds none."""
    for i, column in enumerate(table.column_names):
        values = table[column]
        if _may_hold_keys(values):
            clean = masking.cleaned(values.to_pylist(), f"{name}.{column}")
            table = table.set_column(i, table.field(i), pa.chunked_array([clean], values.type))
    return table


def _may_hold_keys(values: pa.ChunkedArray) -> bool:
    texts = pc.list_flatten(values) if pa.types.is_list(values.type) else values
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        return False
    return bool(pc.any(pc.match_substring_regex(texts, _hints(), ignore_case=True)).as_py())


@cache
def _hints() -> str:
    return "|".join(map(re.escape, masking.hints()))


def _without_keys(table: pa.Table, name: str) -> pa.Table:
    """Candidates that hold a key become failed ones: masked alone they would still be told by their tokens."""
    if name != "candidates" or not any(_may_hold_keys(table[column]) for column in _WRITTEN):
        return table
    rows = table.to_pylist()
    for row in rows:
        if masking.cleaned([row[c] for c in _WRITTEN], "candidates") != [row[c] for c in _WRITTEN]:
            row |= dict.fromkeys((*_WRITTEN, *_TOKENS, "finish")) | {"error": masking.DROPPED}
    return tables.from_rows(name, rows)


def read_parquet(path: Path) -> pa.Table:
    """A Parquet file as it is, unchecked; what cannot be read as one is a SparkError that names the file."""
    if not path.exists():
        raise SparkError(f"{path}: no such file")
    if path.is_dir():
        raise SparkError(f"{path}: is a folder, not a Parquet file")
    digests.check(path)
    try:
        table = pq.ParquetFile(path).read()
        table.validate(full=True)  # or text that is not UTF-8 fails later, far from its file
    except UNREADABLE as fault:
        raise SparkError(f"{path}: not a readable Parquet file ({_first_line(fault)}); make it again") from None
    return table


def provenance(path: Path) -> dict[str, Any] | None:
    """What made an artifact: stage, version, settings, digests of its inputs; None where nothing says so."""
    try:
        if path.is_dir():
            found = json.loads((path / PROVENANCE).read_text())
        else:
            found = json.loads((pq.read_schema(path).metadata or {})[_FOOTER])
    except (*UNREADABLE, KeyError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return {part: value for part, value in found.items() if part not in _PARTS or isinstance(value, dict)}


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, moved into place at the end: that a file exists means that it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        temporary.replace(path)
    except (OSError, pa.ArrowException) as fault:
        raise SparkError(f"{path}: cannot be written ({_first_line(fault)}); nothing was left behind") from None
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Delete a file or folder, whichever it is, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _first_line(fault: BaseException) -> str:
    return str(fault).splitlines()[0] if str(fault) else type(fault).__name__
