"""What a stage is: a pure function from tables to tables, given settings and ports."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from sparkctl.config.settings import Settings
from sparkctl.method.ports import Advance, Inputs, Port

Outputs = dict[str, pa.Table | Path]


@contextmanager
def _silent(label: str, total: int) -> Iterator[Advance]:
    yield lambda n, note="", remembered=0: None


@dataclass(frozen=True)
class Context:
    """What a stage may use of the outer world: ports, and a progress bar; `scratch` is an empty folder to write into."""

    policy: Callable[[Path | None], Port] | None = None
    """Adapter folder (None: the base model) -> port that generates."""
    judge: Port | None = None
    tools: Port | None = None
    identity: Callable[[str], str] = field(default=str)
    """Policy's name -> what tells its weights from others."""
    dataset: Callable[[str], pa.Table] | None = None
    """A data set's source (`hub:NAME@REVISION`) -> its rows."""
    learner: Callable[[], Any] | None = None
    """Opens what reads the policy's tokens, computes log-probs and trains; see models/learner.py."""
    scratch: Path | None = None
    progress: Callable[[str, int], Any] = field(default=_silent)
    """`with progress(label, total) as advance: advance(n, note)`."""
    warn: Callable[[str], None] = lambda line: None
    """Says in one line what a user should know of a result that is there."""


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline. `version` is raised by hand when its results stop being comparable."""

    name: str
    version: int
    settings: type[Settings]
    run: Callable[[Inputs, Any, Context], Outputs]
    doc: str
    reads: tuple[str, ...]
    """Inputs it needs."""
    may_read: tuple[str, ...] = ()
    """Inputs it can do without."""
    writes: tuple[str, ...] = ()
    """Outputs; the first is the one that `--write FILE` means."""
