"""Runs model-written Python in a sandbox, on by default. Linux only.

A *zygote* (`zygote.py`) lives in the sandbox (`walls.py`) as long as the tool; it forks a child per call, so
that a call costs a fork and not the start of an interpreter. There are two: one that has imported numpy and sympy, for
code that names them, and one that has not, for all other code. So what a call finds depends on its own text alone.

What is covered
    files: nothing but an empty scratch folder (16 MiB, 1024 files, gone after the call), the standard library, numpy,
    sympy, mpmath, read-only; no network; no process or thread beside its own; no signal to anyone; none of our
    environment; limits of CPU time, wall time, address space, 1 MiB per file, 32 open files, 64 KiB of output.
    The same code gives the same text: hash seed, `random` and `numpy.random` are seeded, addresses are masked.
What is not covered
    faults of the kernel behind the system calls that pass; what the caches of the processor give away. Answers that
    depend on the clock, on the system's entropy (`secrets`, `numpy.random.default_rng()`) or on `id()` differ.
In the mode `landlock`
    names, sizes and times of files outside can be seen, and where the interpreter lies; see `walls.py`. What holds more
    than 16 MiB or 1024 files is stopped within some 0.05 s, and may have written more until then.
In the mode `none` only the limits hold
    the code may read and write what the user who runs us may, reach the network, and signal the user's processes.

It fails closed: where the sandbox cannot be set up, a call raises `NoSandbox`, and no code runs.
"""

import os
import re
import weakref
from collections.abc import Callable
from typing import Any

from sparkctl.tools.observation import Observation, ToolFailed
from sparkctl.tools.python import sandbox as sandboxes
from sparkctl.tools.python import zygotes
from sparkctl.tools.python.sandbox import Wanted
from sparkctl.tools.python.walls import PACKAGES
from sparkctl.tools.python.zygotes import Isolation, Zygote

UNUSABLE = Observation("error: python_repl cannot be used on this machine", ok=False)
"""What every call is answered where no sandbox works."""
_GRACE_S = 10.0  # what the zygote may need beyond the code's own time before it is given up
_FENCE = re.compile(r"\A\s*```(?:python|py)?[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_NAMES_PACKAGES = re.compile(rf"\b(?:{'|'.join(PACKAGES)})\b")


class PythonRepl:
    """The tool. Starts a process at the first call; `close` ends it, a later call starts another. One call at a time.

    `cpu_s` and `wall_s` are seconds per call, `memory_mb` MiB of address space, the interpreter's own included (20;
    170 with numpy and sympy). CPU time is what decides for code that computes; wall time, 5 * `cpu_s` + 5 unless
    given, ends code that waits.
    """

    def __init__(
        self, *, sandbox: Isolation = "bwrap", cpu_s: int = 2, wall_s: float | None = None, memory_mb: int = 512
    ) -> None:
        self._sandbox = sandbox
        self._limits = {"cpu_s": cpu_s, "wall_s": wall_s or 5.0 * cpu_s + 5.0, "memory_mb": memory_mb}
        self._zygotes: dict[bool, Zygote] = {}
        self._enders: list[Callable[[], object]] = []

    def __call__(self, query: str) -> Observation:
        """What the code printed, and its last value; where it failed, the last line of its traceback.

        Raises NoSandbox where the sandbox cannot be set up, ToolFailed where a call failed for another reason outside
        the code: too busy a machine, too little memory.
        """
        fenced = _FENCE.match(query)
        code = fenced[1] if fenced else query.strip()
        reply = self._reply(code)
        if "failed" in reply:
            raise ToolFailed(f"python_repl: {reply['failed']}")
        return Observation(reply["text"], ok=reply["ok"])

    def close(self) -> None:
        """End what runs and remove its folders. May be called twice."""
        for end in self._enders:
            end()
        self._enders.clear()
        self._zygotes.clear()

    def _reply(self, code: str) -> dict:
        for _ in range(2):  # a zygote that died is replaced once
            try:
                return self._ask(code)
            except (OSError, ValueError):
                self.close()
            except BaseException:
                self.close()  # an unread reply must not answer the next call
                raise
        raise ToolFailed("python_repl: the process that runs the code died twice")

    def _ask(self, code: str) -> dict:
        zygote = self._running(bool(_NAMES_PACKAGES.search(code)))
        return zygote.ask(code, self._limits["wall_s"] + _GRACE_S)

    def _running(self, packages: bool) -> Zygote:
        if any(zygote.owner != os.getpid() for zygote in self._zygotes.values()):
            self.close()  # we are a fork of the owner: its zygotes answer the owner alone
        if packages not in self._zygotes:
            zygote = self._zygotes[packages] = zygotes.start(self._sandbox, self._limits, packages=packages)
            self._enders.append(weakref.finalize(self, zygote.stop))
        return self._zygotes[packages]


def opened(*, sandbox: Wanted = "auto", **limits: Any) -> Callable[[str], Observation]:
    """The tool as it can be had here. Raises SparkError where the mode that is named does not work: one error, not one
    per call."""
    mode = sandboxes.found(sandbox).name
    return unusable if mode == "off" else PythonRepl(sandbox=mode, **limits)


def unusable(query: str) -> Observation:
    """The tool where it is off."""
    return UNUSABLE
