"""The process that `python_repl` starts: it forks one child per request, and the child runs the code.

Standard library only; run as a script, never imported by the package. One JSON line per request on stdin
(`{"code": str, "cpu_s": int, "wall_s": float}`), one JSON line per reply on stdout (`{"ok": bool, "text": str}`).
The child holds neither of the two: its own pipes carry what it prints and why it failed.
"""

import ast
import collections  # noqa: F401  (imported here, so that a child that wants it finds it loaded)
import contextlib
import ctypes
import datetime  # noqa: F401
import decimal  # noqa: F401
import fractions  # noqa: F401
import gc
import heapq  # noqa: F401
import itertools  # noqa: F401
import json
import math  # noqa: F401
import os
import random
import re  # noqa: F401
import resource
import select
import shutil
import signal
import statistics  # noqa: F401
import struct
import sys
import time
import traceback
import types

MAX_PRINTED = 65_536
"""Bytes after which a child is killed."""
MAX_TEXT = 4_096
"""Characters of the printed text that are handed back."""
MEMORY = 512 * 2**20
FILE_SIZE = 2**20

_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION = 0x20080522


def main() -> None:
    scratch = os.getcwd()
    libc = ctypes.CDLL(None, use_errno=True)
    isolate(libc)
    gc.freeze()
    for line in sys.stdin.buffer:
        reply = answer(libc, **json.loads(line))
        empty(scratch)
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def isolate(libc: ctypes.CDLL) -> None:
    """Where the kernel lets us: no network, and own process numbers, so that a child sees and signals only its own."""
    if libc.unshare(_NEWUSER | _NEWNET | _NEWPID) == 0:
        first = os.fork()
        if first:
            os.closerange(0, 3)
            os.waitpid(first, 0)
            os._exit(0)
        libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_DUMPABLE, 0, 0, 0, 0)  # /proc/<this>/fd and memory are closed to a child without capabilities


def answer(libc: ctypes.CDLL, code: str, cpu_s: int, wall_s: float) -> dict[str, object]:
    """Run the code in a child and say what came of it."""
    printed, failed = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            become_child(libc, printed[1], failed[1], cpu_s)
            status = execute(code)
        finally:
            os._exit(status)
    os.close(printed[1])
    os.close(failed[1])
    try:
        out, error, stopped = collect(child, printed[0], failed[0], time.monotonic() + wall_s)
        status = end(child)
    finally:
        os.close(printed[0])
        os.close(failed[0])
    return verdict(clip(out), clip(error), stopped, os.waitstatus_to_exitcode(status))


# ---- in the child ------------------------------------------------------------------------------------------------


def become_child(libc: ctypes.CDLL, printed: int, failed: int, cpu_s: int) -> None:
    """Give up everything but 0 (empty), 1 (what is printed), 2 (nowhere) and 3 (why it failed)."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((null, 0), (printed, 1), (null, 2), (failed, 3)):
        os.dup2(source, target)
    os.closerange(4, 256)
    libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    header, nothing = struct.pack("Ii", _CAPABILITY_VERSION, 0), bytes(24)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.capset(header, nothing):
        raise OSError(ctypes.get_errno(), "cannot give up privileges")
    for limit, most in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, FILE_SIZE),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_NPROC, 0),  # root is not bound by it
    ):
        resource.setrlimit(limit, (most, most))


def execute(code: str) -> int:
    """Run the code as `__main__`, print its last value as a prompt would; 0, or 1 with the reason on 3."""
    sys.stdin, sys.argv = open(0, closefd=False), [""]  # noqa: SIM115
    sys.stdout = open(1, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
    random.seed(0)
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    error = None
    try:
        run(code, vars(module))
    except SystemExit as end:
        error = f"SystemExit: {end.code}" if end.code else None
    except BaseException as raised:
        error = traceback.format_exception_only(raised)[-1].strip()
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
    if error is not None:
        os.write(3, error[:MAX_TEXT].encode(errors="backslashreplace"))
    return int(error is not None)


def run(code: str, names: dict[str, object]) -> None:
    tree = ast.parse(code, "<input>")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<input>", "exec"), names)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), "<input>", "eval"), names)
        if value is not None:
            print(repr(value))


# ---- in the zygote -----------------------------------------------------------------------------------------------


def collect(child: int, printed: int, failed: int, deadline: float) -> tuple[bytes, bytes, str | None]:
    """What the child wrote on both pipes until it ended; third is the limit for which it must be stopped, if any."""
    ended = os.pidfd_open(child)
    texts = {printed: b"", failed: b""}
    stopped: str | None = "time"
    try:
        while (left := deadline - time.monotonic()) > 0:
            ready = select.select([ended, *texts], [], [], left)[0]
            for pipe in texts.keys() & set(ready):
                texts[pipe] += os.read(pipe, MAX_PRINTED)
            if max(map(len, texts.values())) > MAX_PRINTED:
                stopped = "output"
                break
            if ended in ready:
                stopped = None
                break
    finally:
        os.close(ended)
    return texts[printed], texts[failed], stopped


def end(child: int) -> int:
    """Kill the child, if it still runs, and all that it started; its wait status."""
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    alone = os.getpid() == 1
    with contextlib.suppress(OSError):
        if alone:
            os.kill(-1, signal.SIGKILL)  # everything in our own process numbers, ourselves excepted
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, 0 if alone else os.WNOHANG)[0]:
            pass
    return status


def verdict(out: str, error: str, stopped: str | None, code: int) -> dict[str, object]:
    """The reply. A child stopped by the clock keeps no output: how far it came is chance."""
    if stopped == "time" or (stopped is None and code in (-signal.SIGXCPU, -signal.SIGKILL)):
        return {"ok": False, "text": "error: time limit exceeded"}
    if stopped == "output":
        error = f"error: more than {MAX_PRINTED} bytes printed"
    elif code < 0:
        error = f"error: killed by signal {-code}"
    elif code and not error:
        error = f"error: exit status {code}"
    return {"ok": not error, "text": "\n".join(filter(None, (out, error))) or "(no output)"}


def clip(raw: bytes) -> str:
    text = raw.decode(errors="replace").strip()
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def empty(scratch: str) -> None:
    """A call finds nothing of the calls before it."""
    with contextlib.suppress(OSError):
        os.makedirs(scratch, exist_ok=True)
        os.chdir(scratch)
        for entry in os.scandir(scratch):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry, ignore_errors=True)
            else:
                os.unlink(entry)


if __name__ == "__main__":
    main()
