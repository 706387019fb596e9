"""What was written is what is read: beside the artifacts of the store lie digests of their bytes.

data/store/.digests/<artifact>.sha256    as `sha256sum` writes it; to check them all: cd data/store; sha256sum -c .digests/*

An artifact without a digest, such as one that was made before there were any, is taken as it is: its digest is written
when a command that makes things first meets it.
"""

import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from sparkctl.errors import SparkError
from sparkctl.method.ids import digest, digest_path

PROVENANCE = "provenance.json"
"""In an adapter's folder, what made it."""
UNREADABLE = (pa.ArrowException, OSError, ValueError)
"""What a file that is no Parquet file, or a damaged one, is told by; ValueError: names of columns that are not UTF-8."""
_FOLDER = ".digests"
_LINES = re.compile(r"([0-9a-f]{64}  [^\n]+\n)+")
_COARSE_S = 2
"""Two changes within one tick of a file system's clock look like one; the coarsest clock (FAT) ticks every 2 s."""


@dataclass(frozen=True)
class Digests:
    """Of an artifact, both in hex SHA-256."""

    holds: str
    """Of what it holds, which keys are made of: of a table its rows and columns, of a folder its files.

    What made it does not count: a changed setting that gives the same rows makes no reader stale. Of a Parquet file
    the bytes before the footer are the data; the footer holds the schema, which counts, and the provenance.
    """
    lines: str
    """Of every byte of each file: the lines of `sha256sum`."""


_Stamp = tuple[tuple[str, int, int, int, int], ...]
_known: dict[Path, tuple[_Stamp, Digests]] = {}


def of(path: Path) -> Digests:
    """The digests of a file or folder. What was not touched since is not read again by this process."""
    path = path.resolve()
    stamp = _stamp(path)
    if path in _known and _known[path][0] == stamp:
        return _known[path][1]
    found = _of_folder(path) if path.is_dir() else _of_file(path)
    if max((changed for *_, changed in stamp), default=0) < time.time_ns() - _COARSE_S * 10**9:
        _known[path] = stamp, found
    return found


def _stamp(path: Path) -> _Stamp:
    """Of each file: name, inode, size, and when its bytes and its inode changed, in ns."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    seen = [(str(p), p.stat()) for p in files]
    return tuple((name, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns) for name, of in seen)


def _of_folder(path: Path) -> Digests:
    sums = {p.name: digest_path(p) for p in sorted(path.iterdir())}
    holds = digest([[name, found] for name, found in sums.items() if name != PROVENANCE])
    return Digests(holds, "".join(f"{found}  {path.name}/{name}\n" for name, found in sums.items()))


def _of_file(path: Path) -> Digests:
    schema = _schema(path)
    with path.open("rb") as file:
        data = hashlib.sha256()
        for block in _blocks(file, _size_of_data(file) if schema else 0):
            data.update(block)
        every = data.copy()
        for block in _blocks(file, os.fstat(file.fileno()).st_size - file.tell()):
            every.update(block)
    holds = digest([schema, data.hexdigest()]) if schema else every.hexdigest()
    return Digests(holds, f"{every.hexdigest()}  {path.name}\n")


def _schema(path: Path) -> str | None:
    """The columns of a Parquet file in words; None where it is none."""
    try:
        return str(pq.read_schema(path).remove_metadata().to_string())
    except UNREADABLE:
        return None


def _size_of_data(file: IO[bytes]) -> int:
    """How many bytes of a Parquet file come before its footer."""
    file.seek(-8, os.SEEK_END)
    footer = int.from_bytes(file.read(4), "little")
    size = file.tell() - 4 - footer
    file.seek(0)
    return size


def _blocks(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (block := file.read(min(size, 2**20))):
        size -= len(block)
        yield block


# ---- kept beside the artifact ----------------------------------------------------------------------------------------


def place(path: Path) -> Path:
    """Where the digest of an artifact lies."""
    return path.parent / _FOLDER / f"{path.name}.sha256"


def kept(path: Path) -> str | None:
    """The lines that were written with an artifact; None where there are none, as after a power cut."""
    try:
        found = place(path).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if _LINES.fullmatch(found) else None


def keep(path: Path) -> None:
    """Write down the digest of an artifact that has none yet."""
    if kept(path) is None:
        to = place(path)
        to.parent.mkdir(parents=True, exist_ok=True)
        temporary = to.with_name(f"{uuid.uuid4().hex}.part")
        temporary.write_text(of(path).lines, encoding="utf-8")
        temporary.replace(to)


def drop(path: Path) -> None:
    """Forget the digest of an artifact: before it is written again, or when it goes."""
    place(path).unlink(missing_ok=True)


def is_other(path: Path) -> bool:
    """Whether the bytes of an artifact are others than those that were written."""
    lines = kept(path)
    return lines is not None and lines != of(path).lines


def check(path: Path) -> None:
    """Refuse an artifact whose bytes are others than those that were written. Through a link its target is looked at;
    files outside a store have no digests, and pass."""
    if is_other(path.resolve()):
        raise SparkError(
            f"{path.resolve()}: is damaged, its bytes are not those that were written; `sparkctl run` makes it again "
            f"(if you changed it yourself: delete {place(path.resolve())} to keep that)"
        )
