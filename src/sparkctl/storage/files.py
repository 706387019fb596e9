"""Files written whole or not at all, with what made them in the footer; read with errors in one line."""

import contextlib
import json
import re
import shutil
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sparkctl.errors import SparkError, first_line
from sparkctl.method import checks, masking, tables
from sparkctl.storage import digests
from sparkctl.storage.digests import PROVENANCE, UNREADABLE

_FOOTER = b"sparkctl"
_PARTS = ("settings", "inputs", "identities")
"""Of provenance, those that hold names and values; a file from elsewhere may hold anything there."""
_WRITTEN = ("thought", "action_query")
_TOKENS = ("thought_ids", "thought_logprobs", "action_ids", "action_logprobs")
"""Of candidates: what the policy wrote as text, and as tokens."""


def digest_artifact(path: Path) -> str:
    """Hex SHA-256 of what an artifact holds, which keys are made of."""
    return digests.of(path).holds


def write_table(table: pa.Table, name: str, path: Path, provenance: dict[str, Any]) -> None:
    """Check a table against the contract and write it to `path` in one move. The same rows give the same bytes."""
    table = checks.check(table, name, f"what would be {path.name}", may_be_empty=True)
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
    table = checks.check(read_parquet(path), name, str(path), may_be_empty=may_be_empty)
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
        raise SparkError(f"{path}: not a readable Parquet file ({first_line(fault)}); make it again") from None
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
        raise SparkError(f"{path}: cannot be written ({first_line(fault)}); nothing was left behind") from None
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Delete a file or folder, whichever it is, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
