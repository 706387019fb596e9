"""The process that `python_repl` starts: it forks one child per request, and the child runs the code.

Standard library only; run as a script, never imported by the package. The first line on stdin is JSON (`Limits`). It
builds the walls that bubblewrap has not built, tries them and says so (a line `{"ready": bool}`); then one line of JSON
per request on stdin (the code), one per reply on stdout: `{"ok": bool, "text": str}`, or `{"failed": str}` where the
outcome is the machine's, not the code's. The child holds neither of the two: its own pipes carry what it prints and why
it failed.
"""

import ast
import collections  # noqa: F401  (imported here, so that a child that wants it finds it loaded)
import contextlib
import ctypes
import datetime  # noqa: F401
import decimal  # noqa: F401
import fractions  # noqa: F401
import functools
import gc
import heapq  # noqa: F401
import importlib
import itertools  # noqa: F401
import json
import math  # noqa: F401
import os
import random
import re
import resource
import select
import shutil
import signal
import statistics  # noqa: F401
import struct
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PRINTED = 65_536
"""Bytes after which a child is killed."""
MAX_TEXT = 4_096
"""Characters of the printed text that are handed back."""
FILE_SIZE = 2**20
SCRATCH_SIZE, SCRATCH_FILES = 16 * 2**20, 1024
"""What the scratch folder may hold: bytes; files and folders, itself among them."""
LOOK_S = 0.05
"""Seconds between two looks at a scratch folder that no file system bounds: some 50 MB at most can be written meanwhile."""
TRIAL = """
import os
for refused in (
    lambda: os.kill(os.getpid(), 0),
    lambda: os.listdir("/proc"),
    lambda: open("../left", "w"),
    lambda: os.utime("/dev/null"),
):
    try:
        refused()
        print("not refused")
    except OSError:
        print(1)
"""
"""What is tried before any other code: in walls that stand, a signal, another's folder, a file beside one's own and new times
of a file of the machine fail."""
BUSY = 0.01
"""Share of a core; a child that used more than this while its wall time ran out was computing, not waiting."""
WAITS_PER_S = 1.0
"""A child that gave up the core by itself more often than this was polling: what it waited for is its own affair. One that
computes gives it up when it is made to, and where a page comes from disk (not counted)."""

_PDEATHSIG, _DUMPABLE, _SECCOMP, _NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_FILTER = 2
_CAPABILITY_VERSION = 0x20080522
_NOSUID_NODEV_NOEXEC, _DETACH = 2 | 4 | 8, 2
_REMOUNT_READ_ONLY, _RELATIME = 1 | 32 | 4096, 1 << 21
"""MS_RDONLY, MS_REMOUNT, MS_BIND: of this mount alone; MS_RELATIME, whose number `statvfs` tells as another."""
_ADDRESS = re.compile(r"(?<= at )0x[0-9a-f]{6,}(?=>)")


@dataclass(frozen=True)
class Limits:
    """What a call may use, and where it runs."""

    cpu_s: int
    wall_s: float
    memory_mb: int
    mode: str
    """bwrap, landlock, or none: only limits."""
    system_calls: str
    """The filter, in hexadecimal; empty for none."""
    readable: dict[str, str]
    """For landlock: file or folder -> `read` or `list`."""
    packages: str
    preload: list[str]


def main() -> None:
    limits = Limits(**json.loads(sys.stdin.buffer.readline()))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_DUMPABLE, 0, 0, 0, 0)  # /proc/<this>/fd and memory are closed to a child without capabilities
    load(limits)
    if limits.mode == "landlock":
        libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        landlock()
        for script in os.listdir():  # read already; nothing of us stays where the code will be
            os.remove(script)
        landlock().first_layer(libc, limits.readable, os.getcwd())
    elif limits.mode == "bwrap":
        seal(libc, os.devnull)
    gc.freeze()
    say({"ready": holds(libc, limits)})
    for line in sys.stdin.buffer:
        say(answer(libc, limits, json.loads(line)))


def seal(libc: ctypes.CDLL, device: str) -> None:
    """Nothing about the machine's own device can be changed, such as its times; it can be read and written as before.
    bubblewrap cannot do this: what it makes read-only is no device any more."""
    there = os.statvfs(device).f_flag  # what the mount has already must be said again, or the kernel refuses
    kept = there & (os.ST_NOSUID | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME)
    kept |= _RELATIME if there & os.ST_RELATIME else 0
    if libc.mount(None, device.encode(), None, kept | _REMOUNT_READ_ONLY, None):
        raise OSError(ctypes.get_errno(), f"cannot make {device} read-only")


def holds(libc: ctypes.CDLL, limits: Limits) -> bool:
    """Whether code runs here, and is refused what it must be."""
    if limits.mode == "none":
        return answer(libc, limits, "print(1)") == {"ok": True, "text": "1"}
    return answer(libc, limits, TRIAL) == {"ok": True, "text": "1\n1\n1\n1"}


@functools.cache
def landlock() -> types.ModuleType:
    """Our module, which lies beside this script, and nowhere else that the code could import it from."""
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module("landlock")
    finally:
        sys.path.pop(0)
        sys.modules.pop("landlock", None)


def say(reply: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


def load(limits: Limits) -> None:
    """Import what the children are to find imported, and leave the folder of packages out of reach otherwise."""
    sys.path.insert(0, limits.packages)
    for name in limits.preload:
        importlib.import_module(name)
    sys.path.remove(limits.packages)


def answer(libc: ctypes.CDLL, limits: Limits, code: str) -> dict[str, object]:
    """Run the code in a child and say what came of it."""
    try:
        with mounted(libc) if limits.mode == "bwrap" else made(limits) as folder:
            return run_child(libc, limits, code, folder)
    except OSError as error:
        return {"failed": f"no process could be started ({error})"}


@contextlib.contextmanager
def mounted(libc: ctypes.CDLL) -> Iterator[str]:
    """An empty folder for one call, which is a file system of its own: bounded, and gone at once."""
    bounds = f"size={SCRATCH_SIZE},nr_inodes={SCRATCH_FILES},mode=700"
    if libc.mount(b"tmpfs", b"/tmp", b"tmpfs", _NOSUID_NODEV_NOEXEC, bounds.encode()):
        raise OSError(ctypes.get_errno(), "cannot mount the scratch folder")
    try:
        yield "/tmp"
    finally:
        if libc.umount2(b"/tmp", _DETACH):
            os._exit(1)  # the next call must not find what this one left


@contextlib.contextmanager
def made(limits: Limits) -> Iterator[str]:
    """An empty folder for one call, removed after it."""
    folder = tempfile.mkdtemp(dir=os.getcwd())
    try:
        yield folder
    finally:
        if limits.mode == "none":
            shutil.rmtree(folder, ignore_errors=True)
        elif not landlock().removed(folder):
            os._exit(1)


def run_child(libc: ctypes.CDLL, limits: Limits, code: str, folder: str) -> dict[str, object]:
    printed, failed = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            become_child(libc, limits, folder, printed[1], failed[1])
            status = execute(code)
        finally:
            os._exit(status)
    os.close(printed[1])
    os.close(failed[1])
    texts = {printed[0]: b"", failed[0]: b""}
    watched = folder if limits.mode == "landlock" else None
    try:
        stopped = collect(child, texts, limits.wall_s, watched)
        status, used = end(child)
    finally:
        os.close(printed[0])
        os.close(failed[0])
    if watched:
        texts = {pipe: text.replace(watched.encode(), b"/tmp") for pipe, text in texts.items()}
        stopped = stopped or ("scratch" if landlock().overfull(watched, SCRATCH_SIZE, SCRATCH_FILES) else None)
    out, error = map(clip, texts.values())
    if stopped == "busy" and used.ru_nvcsw - used.ru_majflt > WAITS_PER_S * limits.wall_s:
        stopped = "wall"
    return verdict(limits, out, error, stopped, os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime)


# ---- in the child ------------------------------------------------------------------------------------------------


def become_child(libc: ctypes.CDLL, limits: Limits, folder: str, printed: int, failed: int) -> None:
    """Give up everything but 0 (empty), 1 (what is printed), 2 (nowhere) and 3 (why it failed), or die."""
    try:
        os.setsid()
        os.chdir(folder)
        null = os.open(os.devnull, os.O_RDWR)
        for source, target in ((null, 0), (printed, 1), (null, 2), (failed, 3)):
            os.dup2(source, target)
        os.closerange(4, 256)
        # At the first value SIGXCPU, which tells us why the child ended; at the second SIGKILL, which nothing outlives.
        resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))
        for limit, most in (
            (resource.RLIMIT_AS, limits.memory_mb * 2**20),
            (resource.RLIMIT_FSIZE, FILE_SIZE),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NOFILE, 32),
            (resource.RLIMIT_NPROC, 0),  # root is not bound by it
        ):
            resource.setrlimit(limit, (most, most))
        if limits.mode == "landlock":
            landlock().second_layer(libc, folder)
        give_up_powers(libc, bytes.fromhex(limits.system_calls))
    except BaseException:
        os.kill(os.getpid(), signal.SIGKILL)


def give_up_powers(libc: ctypes.CDLL, system_calls: bytes) -> None:
    """No capability, none to be had by running a program, and only the system calls that the filter lets pass."""
    header, nothing = struct.pack("Ii", _CAPABILITY_VERSION, 0), bytes(24)
    wrong = libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0) or libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    wrong = wrong or libc.capset(header, nothing)
    if system_calls and not wrong:
        steps = ctypes.create_string_buffer(system_calls, len(system_calls))
        program = struct.pack("HP", len(system_calls) // 8, ctypes.addressof(steps))
        wrong = libc.prctl(_SECCOMP, _SECCOMP_FILTER, ctypes.c_char_p(program), 0, 0)
    if wrong:
        raise OSError(ctypes.get_errno(), "cannot give up privileges")


def execute(code: str) -> int:
    """Run the code as `__main__`, print its last value as a prompt would; 0, or 1 with the reason on 3."""
    sys.stdin, sys.argv = open(0, closefd=False), [""]  # noqa: SIM115
    sys.stdout = open(1, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
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


def collect(child: int, texts: dict[int, bytes], wall_s: float, folder: str | None) -> str | None:
    """Fill in what the child wrote on each pipe until it ended; the limit for which it must be stopped, if any. `folder`:
    to be watched, since no file system bounds it."""
    ended = os.pidfd_open(child)
    begun, used = time.monotonic(), []
    try:
        for share in (0.5, 1.0):
            stopped = read_until(begun + share * wall_s, ended, texts, folder)
            if stopped != "wall":
                return stopped
            used.append(time.clock_gettime(~child << 3 | 2))  # the CPU clock of the child (see clock_getcpuclockid)
        return "wall" if used[1] - used[0] < BUSY * wall_s / 2 else "busy"
    finally:
        os.close(ended)


def read_until(deadline: float, ended: int, texts: dict[int, bytes], folder: str | None) -> str | None:
    watched, look = {ended, *texts}, time.monotonic() + LOOK_S
    while (left := deadline - time.monotonic()) > 0:
        ready = select.select(watched, [], [], min(left, LOOK_S) if folder else left)[0]
        if folder and time.monotonic() > look:
            if landlock().overfull(folder, SCRATCH_SIZE, SCRATCH_FILES):
                return "scratch"
            look = time.monotonic() + LOOK_S
        for pipe in texts.keys() & set(ready):
            text = os.read(pipe, MAX_PRINTED)
            texts[pipe] += text
            if not text:
                watched.discard(pipe)  # closed by the child, which may go on all the same
        if max(map(len, texts.values())) > MAX_PRINTED:
            return "output"
        if ended in ready:
            return None
    return "wall"


def end(child: int) -> tuple[int, resource.struct_rusage]:
    """Kill the child, if it still runs, and its process group; its wait status and what it used."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return status, usage


def verdict(limits: Limits, out: str, error: str, stopped: str | None, code: int, cpu_s: float) -> dict[str, object]:
    """The reply. A child stopped by a clock keeps no output: how far it came is chance."""
    if stopped in ("busy", "wall") and cpu_s >= limits.cpu_s:  # it went on after SIGXCPU
        return {"ok": False, "text": f"error: CPU time of {limits.cpu_s} s used up"}
    if stopped == "busy":
        return {
            "failed": f"{limits.wall_s:g} s went by and the code got {cpu_s:.1f} s of CPU time: the machine is busy"
        }
    if stopped == "wall":
        return {"ok": False, "text": f"error: wall time of {limits.wall_s:g} s used up"}
    if stopped == "scratch":
        return {"ok": False, "text": f"error: more than {SCRATCH_SIZE >> 20} MiB or {SCRATCH_FILES} files written"}
    if stopped is None and code == -signal.SIGKILL and cpu_s < limits.cpu_s:
        return {"failed": "the code was killed from outside: perhaps the machine is out of memory"}
    if stopped is None and code in (-signal.SIGXCPU, -signal.SIGKILL):
        return {"ok": False, "text": f"error: CPU time of {limits.cpu_s} s used up"}
    if stopped == "output":
        error = f"error: more than {MAX_PRINTED} bytes printed"
    elif code < 0:
        error = f"error: killed by signal {-code}"
    elif code and not error:
        error = f"error: exit status {code}"
    return {"ok": not error, "text": "\n".join(filter(None, (out, error))) or "(no output)"}


def clip(raw: bytes) -> str:
    """As text, without addresses, which differ from run to run."""
    text = _ADDRESS.sub("0x…", raw.decode(errors="replace").strip())
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


if __name__ == "__main__":
    main()
