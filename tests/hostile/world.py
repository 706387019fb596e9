"""A tiny run on the embedded policy, made once for all workers: its tables, adapter and memory are what is damaged."""

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from helpers.command_line import in_a_process
from sparkctl.storage import files

SETTINGS = (
    *("--set", "synth.limit=2", "--set", "synth.steps=2", "--set", "eval.limit=2", "--set", "train.epochs=1"),
    *("--set", 'eval.policies=["base","spark"]', "--set", "tools.python_repl.sandbox=off"),
)
"""Two questions, two steps; without the sandbox, which has tests of its own."""


@dataclass(frozen=True)
class World:
    """A worker's folder. `made`: the data folder of the run, shared and never written to."""

    root: Path
    made: Path

    def table(self, artifact: str) -> pa.Table:
        """A table of the run, as it is in its file."""
        return files.read_parquet(self.made / "default" / f"{artifact}.parquet")

    @property
    def adapter(self) -> Path:
        """The trained adapter's folder."""
        return self.made / "default" / "adapter.spark"

    def data(self, name: str) -> Path:
        """A data folder of its own for a kind, with what the run remembered: nothing sound is asked twice."""
        place = self.root / name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.made / "memory.sqlite", place)
        return place

    @cached_property
    def scratch(self) -> Path:
        """For files that are damaged and written."""
        place = self.root / "scratch"
        place.mkdir(parents=True, exist_ok=True)
        return place


def make(data: Path) -> None:
    """The run, in a process of its own."""
    done = in_a_process("run", "--data", data, *SETTINGS)
    assert done.returncode == 0, done.stderr
