"""Runs model-written Python in a process of its own, with limits. Linux only.

One *zygote* (`python_zygote.py`) lives as long as the tool; it forks a child per call, so that a call costs a fork
and not the start of an interpreter. Every call starts afresh: no name and no file of an earlier call is left.

What is covered
    2 s of CPU and 5 s of wall time, 512 MiB of address space, 1 MiB per file, 32 open files, 64 KiB of output;
    empty environment, scratch folder as working directory, standard library only, `random` seeded with 0;
    no capabilities; neither end of the protocol is open in the child; what it leaves running is killed.
    Where the kernel grants user namespaces, also: no network, and no process outside can be seen or signalled.
What is not covered (issue 4 brings the full sandbox)
    the file system: the code may read and write what the user who runs us may; system calls are not filtered;
    the number of files and processes is not bounded for root. Where user namespaces are not granted, the network
    is open, and the code may signal the user's own processes and outlive a call by starting a session of its own.
    Answers that depend on time, on memory addresses or on the machine are not the same everywhere.

It fails closed: code is never run in our own process. If the zygote cannot be started or dies twice, the answer is
an error.
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
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sparkctl.tools.observation import Observation

ZYGOTE = Path(__file__).with_name("python_zygote.py")
_GRACE_S = 10.0  # what the zygote may need beyond the code's own time before it is given up
_FENCE = re.compile(r"\A\s*```(?:python|py)?[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)


@dataclass(frozen=True)
class _Zygote:
    """The running process, the folder it works in, and the process that owns it."""

    process: subprocess.Popen[bytes]
    scratch: str
    owner: int


class PythonRepl:
    """The tool. Starts its process at the first call; `close` ends it, a later call starts another."""

    def __init__(self, *, cpu_s: int = 2, wall_s: float = 5.0, python: str = sys.executable) -> None:
        self._cpu_s, self._wall_s, self._python = cpu_s, wall_s, python
        self._zygote: _Zygote | None = None
        self._finalizer: weakref.finalize | None = None

    def __call__(self, query: str) -> Observation:
        """What the code printed, and its last value; where it failed, the last line of its traceback."""
        fenced = _FENCE.match(query)
        code = fenced[1] if fenced else query.strip()
        request = json.dumps({"code": code, "cpu_s": self._cpu_s, "wall_s": self._wall_s}) + "\n"
        for _ in range(2):  # a zygote that died is replaced once
            try:
                reply = json.loads(self._ask(request.encode()))
                return Observation(reply["text"], ok=reply["ok"])
            except (OSError, ValueError, KeyError):
                self.close()
            except BaseException:
                self.close()  # an unread reply must not answer the next call
                raise
        return Observation("error: python is not available", ok=False)

    def close(self) -> None:
        """End the process and remove its folder. May be called twice."""
        if self._finalizer is not None:
            self._finalizer()
        self._zygote = self._finalizer = None

    def _ask(self, request: bytes) -> bytes:
        process = self._running().process
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = time.monotonic() + self._wall_s + _GRACE_S
        _write(process.stdin, request, deadline)
        return _read_line(process.stdout, deadline)

    def _running(self) -> _Zygote:
        if self._zygote is not None and self._zygote.owner != os.getpid():
            self.close()  # we are a fork of the owner: its zygote answers the owner alone
        if self._zygote is None:
            self._zygote = _start(self._python)
            self._finalizer = weakref.finalize(self, _stop, self._zygote)
        return self._zygote


def _start(python: str) -> _Zygote:
    scratch = tempfile.mkdtemp(prefix="sparkctl-python-")
    try:
        process = subprocess.Popen(
            [python, "-P", "-s", "-S", "-B", "-X", "utf8", str(ZYGOTE)],  # -I, but for the hash seed below
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=scratch,
            env={"PYTHONHASHSEED": "0"},  # sets print in the same order in every run
            start_new_session=True,
        )
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return _Zygote(process, scratch, os.getpid())


def _stop(zygote: _Zygote) -> None:
    """End the process if it is ours; in a fork of the owner, only let go of it."""
    process = zygote.process
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    if zygote.owner != os.getpid():
        process.returncode = 0  # the owner waits for it, not we
        return
    process.kill()
    process.wait()
    shutil.rmtree(zygote.scratch, ignore_errors=True)


def _write(pipe: IO[bytes], text: bytes, deadline: float) -> None:
    os.set_blocking(pipe.fileno(), False)
    while text:
        if not select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))[1]:
            raise TimeoutError("the zygote does not read")
        text = text[os.write(pipe.fileno(), text) :]


def _read_line(pipe: IO[bytes], deadline: float) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError("the zygote does not answer")
        chunk = os.read(pipe.fileno(), 65_536)
        if not chunk:
            raise ConnectionError("the zygote has ended")
        line += chunk
    return line
