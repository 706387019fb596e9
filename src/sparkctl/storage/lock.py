"""One command at a time makes things in a data folder; those that only read are never kept waiting.

Files of the store and replies in memory are safe for several writers. What is not: two commands would each pay for calls
that they share, `judge.budget_usd` would be spent by each, two trainings would write one checkpoint, and one run's links
would be dropped by another under the same name. So who makes holds the file `DATA/.lock`. The lock is the kernel's
(flock): it goes with the process, however that ends; what stands in the file is for the message, and for other machines: on
a disk that they share a lock of one kernel does not hold back another, so there who stands in the file has it.
"""

import fcntl
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from sparkctl.errors import SparkError
from sparkctl.storage import disks

NAME = ".lock"


@contextmanager
def held(data: Path, say: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Nobody else makes anything in this data folder until the block ends. A SparkError says who does already."""
    data.mkdir(parents=True, exist_ok=True)
    with _taken(data / NAME, say) as file:
        file.seek(0)
        file.truncate()
        file.write(json.dumps(_we()))
        file.flush()
        try:
            yield
        finally:
            (data / NAME).unlink(missing_ok=True)  # while it is ours: who opened it before looks again


def _taken(path: Path, say: Callable[[str], None]) -> IO[str]:
    """The file, open and locked."""
    while True:
        is_new = _is_made(path)
        with suppress(FileNotFoundError), ExitStack() as opened:
            file = opened.enter_context(path.open("r+"))
            by_kernel = _locked(file, path, say)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                if not is_new:
                    _refuse_others(file, path, by_kernel)
                opened.pop_all()
                return file
        # Its holder has ended and deleted it in between.


def _is_made(path: Path) -> bool:
    """Whether it was not there and is made: by one alone, on network disks too."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _locked(file: IO[str], path: Path, say: Callable[[str], None]) -> bool:
    """Whether the kernel holds the lock for us; some network file systems keep none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SparkError(f"{_who(path.parent, _told(file))}; wait for it, end it, or choose another --data") from None
    except OSError as fault:
        say(f"{path}: cannot be locked here ({fault.strerror}); see that no other command works in this folder")
        return False
    return True


def _refuse_others(file: IO[str], path: Path, by_kernel: bool) -> None:
    """Raise a SparkError for a holder that our kernel does not know of: on another machine, or where it keeps no locks.
    What stands in the file of a holder on this machine that has ended counts for nothing."""
    other, kind = _told(file), disks.shared(path)
    here = other.get("host") == socket.gethostname()
    if kind and not here:
        raise SparkError(
            f"{_who(path.parent, other)}, or was killed at it; on a disk that machines share ({kind}) that cannot be told from "
            f"here: wait for it, or delete {path} once it has ended"
        )
    if here and not by_kernel and other["pid"] != os.getpid() and Path(f"/proc/{other['pid']}").exists():
        raise SparkError(f"{_who(path.parent, other)}; wait for it, end it, or choose another --data")


def _we() -> dict[str, str | int]:
    command = shlex.join(["sparkctl", *sys.argv[1:]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": since}


def _told(file: IO[str]) -> dict[str, Any]:
    """What its holder wrote into the file; empty while it has not written yet."""
    file.seek(0)
    try:
        other = json.loads(file.read())
        return {name: other[name] for name in _we()}
    except (ValueError, KeyError, TypeError):
        return {}


def _who(data: Path, other: dict[str, Any]) -> str:
    who = "another process"
    if other:
        where = "" if other["host"] == socket.gethostname() else f" on {other['host']}"
        who = f"process {other['pid']}{where} ('{other['command']}', since {other['since']})"
    return f"--data '{data}': {who} is making things here"
