"""One command at a time makes things in a data folder; those that only read are never kept waiting.

Files of the store and replies in memory are safe for several writers. What is not: two commands would each pay for calls
that they share, `judge.budget_usd` would be spent by each, two trainings would write one checkpoint, and one run's links
would be dropped by another under the same name. So who makes holds the file `DATA/.lock`. The lock is the kernel's
(flock): it goes with the process, however that ends; what stands in the file is only for the message.
"""

import fcntl
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sparkctl.errors import SparkError

NAME = ".lock"


@contextmanager
def held(data: Path, say: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Nobody else makes anything in this data folder until the block ends. A SparkError says who does already."""
    data.mkdir(parents=True, exist_ok=True)
    with _taken(data / NAME, say) as file:
        file.truncate(0)
        file.write(json.dumps(_we()))
        file.flush()
        try:
            yield
        finally:
            (data / NAME).unlink(missing_ok=True)  # while it is ours: who opened it before looks again


def _taken(path: Path, say: Callable[[str], None]) -> IO[str]:
    """The file, open and locked."""
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                raise SparkError(_who(path.parent, file)) from None
        except OSError as fault:  # some network file systems keep none
            say(f"{path}: cannot be locked here ({fault.strerror}); see that no other command works in this folder")
            return file
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()  # its holder has ended and deleted it in between


def _we() -> dict[str, str | int]:
    command = shlex.join(["sparkctl", *sys.argv[1:]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": since}


def _who(data: Path, file: IO[str]) -> str:
    try:
        file.seek(0)
        other = json.loads(file.read())
        where = "" if other["host"] == socket.gethostname() else f" on {other['host']}"
        who = f"process {other['pid']}{where} ('{other['command']}', since {other['since']})"
    except (ValueError, KeyError, TypeError):  # it has the lock and has not written yet
        who = "another process"
    return f"--data '{data}': {who} is making things here; wait for it, end it, or choose another --data"
