"""Artifacts by key: written whole or not at all, with what made them in the footer; links give a run's view by name.

data/store/<artifact>-<key>.parquet    a table          (an adapter is a folder of the same name)
data/store/.digests/<the same>.sha256  SHA-256 of its bytes, checked when it is read
data/<run>/<artifact>.parquet          link to the one that this run uses
data/<run>/runs.jsonl                  wall time of each stage: what must not enter the tables
"""

import json
import os
import time
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sparkctl.errors import SparkError
from sparkctl.method import masking, names
from sparkctl.storage import digests
from sparkctl.storage.files import read_parquet, remove

_ABANDONED_S = 3600
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
