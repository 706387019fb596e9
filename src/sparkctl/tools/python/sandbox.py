"""How model-written Python is shut in on this machine: `found` says it, and what is missing where it cannot be.

Three modes run code, the stronger first: *bwrap* and *landlock* isolate (walls.py says what each is worth), *none* has only
limits and is never taken unless a user asks for it. *off* runs nothing: the tool answers every call with one plain error.
`auto`, the default, takes the strongest that works here, else `off`.

Which mode it is decides what a tool answers. So it is found out before any code of a model runs, by starting the process
that would run it and letting it try its walls (some 0.15 s, once for each process of ours); it is part of every key, and of
the scope of what is remembered. What was found is not kept on disk: a kernel's settings can change under it.
"""

import functools
import sys
from dataclasses import dataclass
from typing import Literal

from sparkctl.errors import SparkError
from sparkctl.tools.python import zygotes
from sparkctl.tools.python.walls import NoSandbox
from sparkctl.tools.python.zygotes import Isolation

Wanted = Literal["auto", "bwrap", "landlock", "none", "off"]
Found = Literal["bwrap", "landlock", "none", "off"]

ISOLATING: tuple[Isolation, ...] = ("bwrap", "landlock")
"""The stronger first."""
LIMITS = {"cpu_s": 2, "wall_s": 15.0, "memory_mb": 512}
"""Of the trial; those of the tool are its own."""
_LINUX = "its sandboxes need Linux; everything else works here"
_AUTO = "or take the strongest that works here: --set tools.python_repl.sandbox=auto"


@dataclass(frozen=True)
class Mode:
    """How code is run here."""

    name: Found
    lacking: tuple[str, ...] = ()
    """For each stronger mode that does not work here one line: why, and what to do."""

    @property
    def warning(self) -> str | None:
        """What a user must know before a run, in one line; None where the strongest mode works."""
        if self.name == "none":
            return "python_repl runs without a sandbox, as asked for: what a model writes may read your files and use the network"
        if not self.lacking:
            return "python_repl is off, as asked for: every call of it is refused" if self.name == "off" else None
        why = "; ".join(self.lacking)
        if self.name == "off":
            return f"python_repl is OFF on this machine: every call of it is refused, and scored so; {why}"
        return f"python_repl runs in the weaker sandbox '{self.name}'; {why}"


def found(wanted: Wanted = "auto") -> Mode:
    """How code is run here, where this is wanted. Raises SparkError, in one line, where a mode that is named does not work."""
    if wanted == "auto":
        return _strongest()
    if wanted != "off" and (fault := missing(wanted)):
        raise SparkError(f"tools.python_repl.sandbox '{wanted}' cannot be used here: {fault}; {_AUTO}")
    return Mode(wanted)


@functools.cache
def _strongest() -> Mode:
    if sys.platform != "linux":
        return Mode("off", (_LINUX,))
    lacking: list[str] = []
    for mode in ISOLATING:
        if not (fault := missing(mode)):
            return Mode(mode, tuple(lacking))
        lacking.append(f"{mode}: {fault}")
    return Mode("off", tuple(lacking))


@functools.cache
def missing(mode: Isolation) -> str | None:
    """Why a mode cannot be used here and what to do, in one line; None where it works. Starts a process and ends it."""
    if sys.platform != "linux":
        return _LINUX
    try:
        zygotes.start(mode, LIMITS, packages=False).stop()
    except NoSandbox as fault:
        return str(fault)
    return None
