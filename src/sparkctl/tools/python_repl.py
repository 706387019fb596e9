"""Runs model-written Python in a sandbox, on by default. Linux only.

A *zygote* (`python_zygote.py`) lives in the sandbox (`sandbox.py`) as long as the tool; it forks a child per call, so
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
With `sandbox="none"` only the limits hold
    the code may read and write what the user who runs us may, reach the network, and signal the user's processes.

It fails closed: where the sandbox cannot be set up, a call raises `NoSandbox`, and no code runs.
"""

import contextlib
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from sparkctl.errors import SparkError
from sparkctl.tools import sandbox as walls
from sparkctl.tools.observation import Observation, ToolFailed

ZYGOTE = Path(__file__).with_name("python_zygote.py")
_START_S = 60.0  # within which a zygote must be ready, on however busy a machine
_GRACE_S = 10.0  # what the zygote may need beyond the code's own time before it is given up
_FENCE = re.compile(r"\A\s*```(?:python|py)?[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_NAMES_PACKAGES = re.compile(rf"\b(?:{'|'.join(walls.PACKAGES)})\b")

Sandbox = Literal["bwrap", "none"]


@dataclass(frozen=True)
class _Zygote:
    """The running process, the folder it works in, what it complains of, and the process that owns it."""

    process: subprocess.Popen[bytes]
    folder: str
    complaints: IO[bytes]
    owner: int


class PythonRepl:
    """The tool. Starts a process at the first call; `close` ends it, a later call starts another. One call at a time.

    `cpu_s` and `wall_s` are seconds per call, `memory_mb` MiB of address space, the interpreter's own included (20;
    170 with numpy and sympy). CPU time is what decides for code that computes; wall time, 5 * `cpu_s` + 5 unless
    given, ends code that waits.
    """

    def __init__(
        self, *, sandbox: Sandbox = "bwrap", cpu_s: int = 2, wall_s: float | None = None, memory_mb: int = 512
    ) -> None:
        self._sandbox = sandbox
        self._limits = {"cpu_s": cpu_s, "wall_s": wall_s or 5.0 * cpu_s + 5.0, "memory_mb": memory_mb}
        self._zygotes: dict[bool, _Zygote] = {}
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

    def fault(self) -> str | None:
        """None where the sandbox works; else one line: what is missing, and what to do."""
        try:
            self._running(packages=False)
        except ToolFailed as error:
            return str(error)
        return None

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
        process = self._running(bool(_NAMES_PACKAGES.search(code))).process
        deadline = time.monotonic() + self._limits["wall_s"] + _GRACE_S
        _write(process, json.dumps(code).encode() + b"\n", deadline)
        return _read(process, deadline)

    def _running(self, packages: bool) -> _Zygote:
        if any(zygote.owner != os.getpid() for zygote in self._zygotes.values()):
            self.close()  # we are a fork of the owner: its zygotes answer the owner alone
        if packages not in self._zygotes:
            zygote = self._zygotes[packages] = _start(self._sandbox, self._argument(packages))
            self._enders.append(weakref.finalize(self, _stop, zygote))
            _await_ready(zygote)
        return self._zygotes[packages]

    def _argument(self, packages: bool) -> str:
        walled = self._sandbox == "bwrap"
        more = {
            "system_calls": walls.inner().hex() if walled else "",
            "packages": "/packages" if walled else str(walls.packages()),
            "preload": [*walls.PACKAGES, "numpy.random"] if packages else [],
        }
        return json.dumps(self._limits | more)


def opened(**limits: Any) -> PythonRepl:
    """The tool with these limits, or a SparkError where its sandbox cannot be set up: one error, not one per call."""
    tool = PythonRepl(**limits)
    if fault := tool.fault():
        tool.close()
        raise SparkError(fault)
    return tool


def sandbox_fault() -> str | None:
    """None where the sandbox can be set up here; else one line: what is missing, and what to install."""
    tool = PythonRepl()
    try:
        return tool.fault()
    finally:
        tool.close()


def _start(sandbox: Sandbox, argument: str) -> _Zygote:
    walled = sandbox == "bwrap"
    command = walls.command(ZYGOTE) if walled else [sys.executable, *walls.FLAGS, str(ZYGOTE)]
    folder = tempfile.mkdtemp(prefix="sparkctl-python-")
    complaints = tempfile.TemporaryFile()  # noqa: SIM115  (closed by _stop)
    try:
        process = subprocess.Popen(
            [*command, argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            bufsize=0,
            cwd=folder,
            env=walls.environment(),
            start_new_session=True,
        )
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        complaints.close()
        raise walls.NoSandbox(f"python_repl: {command[0]} cannot be started ({error.strerror})") from None
    return _Zygote(process, folder, complaints, os.getpid())


def _await_ready(zygote: _Zygote) -> None:
    """Return once the zygote has run a first program with all its limits. Raises NoSandbox where it does not."""
    with contextlib.suppress(OSError, ValueError):
        if _read(zygote.process, time.monotonic() + _START_S) == {"ready": True}:
            return
    zygote.complaints.seek(0)
    lines = zygote.complaints.read().decode(errors="replace").strip().splitlines() or ["no reason given"]
    advice = "allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"
    raise walls.NoSandbox(f"the sandbox of python_repl does not start: {lines[-1][:200]}; {advice}, {walls.OPT_OUT}")


def _stop(zygote: _Zygote) -> None:
    """End the process if it is ours; in a fork of the owner, only let go of it."""
    process = zygote.process
    for pipe in (process.stdin, process.stdout, zygote.complaints):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    if zygote.owner != os.getpid():
        process.returncode = 0  # the owner waits for it, not we
        return
    process.kill()
    process.wait()
    shutil.rmtree(zygote.folder, ignore_errors=True)


def _write(process: subprocess.Popen[bytes], text: bytes, deadline: float) -> None:
    pipe = process.stdin
    assert pipe is not None
    os.set_blocking(pipe.fileno(), False)
    while text:
        if not select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))[1]:
            raise TimeoutError("the zygote does not read")
        text = text[os.write(pipe.fileno(), text) :]


def _read(process: subprocess.Popen[bytes], deadline: float) -> dict:
    """The next line, which is a JSON object. Raises OSError or ValueError where there is none."""
    pipe, line = process.stdout, b""
    assert pipe is not None
    while not line.endswith(b"\n"):
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError("the zygote does not answer")
        chunk = os.read(pipe.fileno(), 65_536)
        if not chunk:
            raise ConnectionError("the zygote has ended")
        line += chunk
    return json.loads(line)
