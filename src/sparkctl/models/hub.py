"""Questions from a data set on the Hugging Face hub, or from a folder in its layout: `hub:NAME@REVISION[:SPLIT]`.

A revision is asked for, because a branch's rows may change under a recipe; best is a commit's hash. Files come through
the hub's cache, so what was fetched once is there without a network too.
"""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sparkctl.config.recipe import expanded
from sparkctl.errors import SparkError, first_line
from sparkctl.method.ids import digest, digest_path

PREFIX = "hub:"
SPLIT = "test"
_SOURCE = re.compile(r"hub:(?P<name>[^@]+?)(?:@(?P<revision>[^:@]+))?(?::(?P<split>[\w-]+))?")


@dataclass(frozen=True)
class Hub:
    """A split of a data set. `name` is a repository, or a folder of this machine."""

    name: str
    revision: str | None
    split: str

    @property
    def folder(self) -> Path | None:
        """The folder, where it is one."""
        path = expanded(self.name, "questions")
        return path if path.is_dir() else None


def parsed(source: str) -> Hub:
    """What a source names, or a SparkError that says how to write it."""
    found = _SOURCE.fullmatch(source)
    if found is None:
        raise SparkError(f"questions '{source}': write hub:NAME@REVISION, such as hub:TIGER-Lab/MMLU-Pro@main")
    hub = Hub(found["name"], found["revision"], found["split"] or SPLIT)
    if hub.folder is None and hub.name.startswith((".", "/", "~")):
        raise SparkError(f"questions '{source}': no folder '{hub.name}'")
    if hub.folder is None and hub.revision is None:
        raise SparkError(
            f"questions '{source}': say which revision, such as {PREFIX}{hub.name}@main (a commit's hash is best)"
        )
    return hub


def identity(source: str) -> str:
    """What tells one data set from another: the bytes of a folder, the name and revision of what is on the hub."""
    hub = parsed(source)
    if hub.folder is None:
        return source
    files = sorted(path for path in hub.folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return digest([hub.split, [[str(path.relative_to(hub.folder)), digest_path(path)] for path in files]])


def load(source: str) -> pa.Table:
    """The rows of the split, as they are; what cannot be had is a SparkError of one line."""
    hub = parsed(source)
    try:
        return _rows(hub)
    except Exception as fault:  # two libraries and a network have their own many kinds; all mean that it cannot be read
        raise SparkError(
            f"questions '{source}': cannot be read ({type(fault).__name__}: {first_line(fault)}); "
            f"check name, revision and split, or give a Parquet file"
        ) from None


def _rows(hub: Hub) -> pa.Table:
    import datasets
    from huggingface_hub import constants, snapshot_download

    datasets.disable_progress_bars()
    # A split of another name may lie in files of any name, so all tables are fetched; they are small.
    wanted = ["*.parquet", "*.jsonl", "*.json", "*.csv", "README.md"]
    folder: Any = hub.folder or snapshot_download(
        hub.name,
        repo_type="dataset",
        revision=hub.revision,
        allow_patterns=wanted,
        local_files_only=constants.HF_HUB_OFFLINE,
    )
    with tempfile.TemporaryDirectory(prefix="sparkctl-") as cache:
        loaded = datasets.load_dataset(str(folder), split=hub.split, cache_dir=cache, keep_in_memory=True)
        return loaded.with_format("arrow")[:]
