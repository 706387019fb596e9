"""Digests and ids. A digest names content; nothing here depends on time, host or Python's hash seed."""

import hashlib
import json
from pathlib import Path
from typing import Any


def digest(value: Any) -> str:
    """Hex SHA-256 of a JSON-able value in canonical form: keys sorted, no blanks, UTF-8."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def digest_path(path: Path) -> str:
    """Hex SHA-256 of a file's bytes; of a folder, over its files' relative names and bytes in name order."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return digest([[p.relative_to(path).as_posix(), digest_path(p)] for p in files])


def rollout_id(question_id: int, sample_id: int) -> str:
    """The name of the `sample_id`-th rollout of a question."""
    return f"q{question_id}-s{sample_id}"


def seed_of(*parts: Any) -> int:
    """A 63-bit seed from any JSON-able parts: the same for the same parts, unrelated otherwise."""
    return int(digest(list(parts))[:16], 16) >> 1
