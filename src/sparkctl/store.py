"""Artifacts by key: written whole or not at all, with what made them in the footer; links give a run's view by name.

data/store/<artifact>-<key>.parquet    a table          (an adapter is a folder of the same name)
data/<run>/<artifact>.parquet          link to the one that this run uses
data/<run>/runs.jsonl                  wall time of each stage: what must not enter the tables
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparkctl import names, tables
from sparkctl.errors import SparkError
from sparkctl.ids import digest, digest_path

_FOOTER = b"sparkctl"
_ABANDONED_S = 3600
_PROVENANCE = "provenance.json"
_UNREADABLE = (pa.ArrowException, OSError, ValueError)
"""What a file that is no Parquet file, or a damaged one, is told by; ValueError: names of columns that are not UTF-8."""
_PARTS = ("settings", "inputs", "identities")
"""Of provenance, those that hold names and values; a file from elsewhere may hold anything there."""
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
            file.write(json.dumps({"at": round(time.time(), 3)} | record) + "\n")

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
        return sorted(path for path in self.files.glob("*") if path.resolve() not in used and not _under_way(path))

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
    """Hex SHA-256 of what an artifact holds: of a table its rows and columns, of a folder its files.

    What made it does not count: a changed setting that gives the same rows makes no reader stale. Of a Parquet file
    the bytes before the footer are the data; the footer holds the schema, which counts, and the provenance.
    """
    if path.is_dir():
        return digest([[p.name, digest_path(p)] for p in sorted(path.iterdir()) if p.name != _PROVENANCE])
    try:
        schema = pq.read_schema(path).remove_metadata().to_string()
    except _UNREADABLE:
        return digest_path(path)
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        footer = int.from_bytes(file.read(4), "little")
        size = file.tell() - 4 - footer
        file.seek(0)
        data = hashlib.sha256()
        while size > 0 and (block := file.read(min(size, 2**20))):
            data.update(block)
            size -= len(block)
    return digest([schema, data.hexdigest()])


def _file_name(artifact: str, key: str = "") -> str:
    # An adapter is a folder that peft opens as it is; all else is Parquet.
    return artifact + key + ("" if artifact.startswith("adapter") else ".parquet")


def write_table(table: pa.Table, name: str, path: Path, provenance: dict[str, Any]) -> None:
    """Check a table against the contract and write it to `path` in one move. The same rows give the same bytes."""
    table = tables.check(table, name, f"what would be {path.name}", may_be_empty=True)
    write_parquet(table, path, {"table": name} | provenance)


def write_parquet(table: pa.Table, path: Path, provenance: dict[str, Any]) -> None:
    """Write a table, of the contract or not, to `path` in one move, with what made it in the footer."""
    footer = {_FOOTER: json.dumps(provenance, sort_keys=True).encode()}
    with whole(path) as temporary:
        pq.write_table(table.replace_schema_metadata(footer), temporary, compression="zstd")


def write_text(text: str, path: Path) -> None:
    """Write a text to `path` in one move."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_folder(source: Path, path: Path, provenance: dict[str, Any]) -> None:
    """Move a finished folder to `path` in one move, with its provenance beside the files. What is there stays."""
    if (path / _PROVENANCE).exists():
        return  # of the same key, and so complete: another process was faster
    with whole(path) as temporary:
        shutil.copytree(source, temporary, copy_function=shutil.copyfile)  # safetensors lets nobody else read its files
        (temporary / _PROVENANCE).write_text(json.dumps(provenance, sort_keys=True, indent=1))


def read_table(path: Path, name: str, *, may_be_empty: bool = False) -> pa.Table:
    """A checked table from a Parquet file; every fault is a SparkError that names the file."""
    return tables.check(read_parquet(path), name, str(path), may_be_empty=may_be_empty)


def read_parquet(path: Path) -> pa.Table:
    """A Parquet file as it is, unchecked; what cannot be read as one is a SparkError that names the file."""
    if not path.exists():
        raise SparkError(f"{path}: no such file")
    if path.is_dir():
        raise SparkError(f"{path}: is a folder, not a Parquet file")
    try:
        table = pq.ParquetFile(path).read()
        table.validate(full=True)  # or text that is not UTF-8 fails later, far from its file
    except _UNREADABLE as fault:
        raise SparkError(f"{path}: not a readable Parquet file ({_first_line(fault)}); make it again") from None
    return table


def provenance(path: Path) -> dict[str, Any] | None:
    """What made an artifact: stage, version, settings, digests of its inputs; None where nothing says so."""
    try:
        if path.is_dir():
            found = json.loads((path / _PROVENANCE).read_text())
        else:
            found = json.loads((pq.read_schema(path).metadata or {})[_FOOTER])
    except (*_UNREADABLE, KeyError, RecursionError):
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
