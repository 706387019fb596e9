"""What model-written code tries in order to get out of the sandbox. Run: pytest tests/tools/python/test_escapes.py

Each attempt is run in each mode that claims to isolate. It must leave the marks of an attempt that was made and refused (`seen`), must not bring the
secret back, and must change nothing outside; then the next call on the same sandbox must be answered right. Those
that are harmless are run without the sandbox as well, where they must succeed: an attempt that could not succeed
anywhere would show nothing.
"""

import contextlib
import json
import os
import platform
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sparkctl.tools.python import walls
from sparkctl.tools.python.repl import PythonRepl
from sparkctl.tools.python.sandbox import ISOLATING, missing
from sparkctl.tools.python.zygotes import Isolation

MODES = [
    pytest.param(mode, marks=pytest.mark.skipif(bool(missing(mode)), reason=str(missing(mode)))) for mode in ISOLATING
]
SECRET = "marmalade-7731"
KEY = "SPARKCTL_TEST_API_KEY"
ESCAPED = "ESCAPED"
DENIED = "PermissionError"
READ_ONLY = "Read-only file system|Permission denied"  # to an ordinary user, and by Landlock, the latter
HIDDEN = "FileNotFoundError"
FULL = "No space left"
WATCHED = "error: more than 16 MiB or 1024 files written"
LIBC = "libc = ctypes.CDLL(None, use_errno=True)\n"
CALLS = LIBC + "def attempt(*a):\n  print(ESCAPED if libc.syscall(*a) >= 0 else os.strerror(ctypes.get_errno()))\n"


class Attempt(NamedTuple):
    """`seen`: what the observation must match. `free`: it succeeds without the sandbox, and harms nobody there.

    `then`, what is asked next and answered how: mostly a sum.
    """

    code: str
    seen: str
    free: bool = False
    then: tuple[str, str] = ("6 * 7", "42")


ATTEMPTS = {
    # the network
    "tcp": Attempt("socket.create_connection(('127.0.0.1', PORT)); print(ESCAPED)", DENIED, free=True),
    "tcp6": Attempt("socket.socket(socket.AF_INET6).connect(('::1', PORT6)); print(ESCAPED)", DENIED, free=True),
    "udp": Attempt("socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT)); print(ESCAPED)", DENIED, free=True),
    "unix socket": Attempt("socket.socket(socket.AF_UNIX).connect(UNIX); print(ESCAPED)", DENIED, free=True),
    "abstract unix socket": Attempt("socket.socket(socket.AF_UNIX).connect(ABSTRACT); print(ESCAPED)", DENIED, free=True),
    "netlink": Attempt("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); print(ESCAPED)", DENIED, free=True),
    "raw packets": Attempt("socket.socket(socket.AF_PACKET, socket.SOCK_RAW); print(ESCAPED)", DENIED),
    "names": Attempt("print(ESCAPED, socket.getaddrinfo('localhost', 80))", "gaierror|PermissionError", free=True),
    "a pair as a way to send": Attempt("a, b = socket.socketpair(type=socket.SOCK_DGRAM); b.sendto(b'x', DATAGRAMS); print(ESCAPED)", f"{DENIED}|{HIDDEN}", free=True),
    "a pair as a way to connect": Attempt("a, b = socket.socketpair(); b.connect(UNIX); print(ESCAPED)", DENIED),
    # files
    "read a file": Attempt("print(open(FILE).read())", HIDDEN, free=True),
    "read /etc/passwd": Attempt("print(ESCAPED, open('/etc/passwd').read())", HIDDEN, free=True),
    "append to a file": Attempt("open(FILE, 'a').write('x')", HIDDEN),
    "remove a file": Attempt("os.unlink(FILE)", HIDDEN),
    "empty a file": Attempt("os.truncate(FILE, 0); print(ESCAPED)", f"{DENIED}|{HIDDEN}", free=True),
    "empty a file that may be read": Attempt("os.open(os.__file__, os.O_RDONLY | os.O_TRUNC); print(ESCAPED)", f"{DENIED}|{READ_ONLY}"),
    "times of a file": Attempt("os.utime(FILE, (1, 1)); print(ESCAPED)", f"{DENIED}|{HIDDEN}", free=True),
    "times of the null device": Attempt("os.utime('/dev/null', (1, 1)); print(ESCAPED)", f"{DENIED}|{READ_ONLY}"),
    "times of what is open": Attempt("for fd in (0, 2):\n  try: os.utime(fd, (1, 1)); print(ESCAPED)\n  except OSError: print('refused')", "refused\nrefused"),
    "times of an open file": Attempt("os.utime(os.open(os.__file__, os.O_RDONLY), (1, 1)); print(ESCAPED)", f"{DENIED}|{READ_ONLY}"),
    "open for neither reading nor writing": Attempt("os.open(FILE, os.O_ACCMODE); print(ESCAPED)", f"{DENIED}|{HIDDEN}", free=True),
    "rename a file away": Attempt("os.rename(FILE, 'mine'); print(open('mine').read())", f"{DENIED}|{HIDDEN}|Invalid cross-device"),
    "walk up from the folder": Attempt("os.chdir('../../../..'); print(sorted(os.listdir('.')))", r"\['dev', 'lib"),
    "symbolic link": Attempt("os.symlink(FILE, 'link'); print(open('link').read())", DENIED, free=True),
    "hard link": Attempt("os.link(FILE, 'link'); print(ESCAPED)", f"{DENIED}|{HIDDEN}"),
    "names of open2": Attempt(CALLS + "import struct\nattempt(437, -100, FILE.encode(), struct.pack('QQQ', 0, 0, 0), 24)", "Permission denied"),
    "chmod a device": Attempt("os.chmod('/dev/null', 0); print(ESCAPED)", DENIED),
    "chmod an open device": Attempt("os.fchmod(0, 0); print(ESCAPED)", DENIED),
    "list the project": Attempt("import sparkctl; print(ESCAPED)", "ModuleNotFoundError"),
    "other packages": Attempt("import numpy, torch; print(ESCAPED)", "ModuleNotFoundError: No module named 'torch'"),
    "write to the standard library": Attempt("open(os.__file__, 'a').write('print(1)')", READ_ONLY),
    "write to numpy": Attempt("import numpy; open(numpy.__file__, 'a').write('print(1)')", READ_ONLY),
    "write beside the zygote": Attempt("open('/zygote.py', 'a').write('print(1)')", READ_ONLY),
    "write at the root": Attempt("open('/left', 'w')", READ_ONLY),
    "shared memory": Attempt("open('/dev/shm/left', 'w')", HIDDEN),
    "memory of the machine": Attempt("print(ESCAPED, open('/dev/mem', 'rb').read(1))", HIDDEN),
    "messages of the kernel": Attempt("print(ESCAPED, open('/dev/kmsg', 'rb'))", HIDDEN),
    "a device of one's own": Attempt("os.mknod('disk', 0o60600, os.makedev(254, 0)); print(ESCAPED)", DENIED),
    "a file for the next call": Attempt("print(open('left', 'w').write('x'))", "1", then=("import os; os.listdir('.')", "[]")),
    "a file beside one's own folder": Attempt("open('../left', 'w')", READ_ONLY),
    "remove one's own folder": Attempt("os.rmdir(os.getcwd()); print(ESCAPED)", f"{DENIED}|OSError"),
    "a folder that nobody can enter": Attempt("os.mkdir('d'); open('d/f', 'w').close(); os.mkdir('d/e', 0); print('made')", f"made|{WATCHED}", then=("import os; os.listdir('.')", "[]")),
    "very deep folders": Attempt(
        "for _ in range(900): os.mkdir('d'); os.chdir('d')\nprint('deep')", "deep", then=("import os; os.listdir('.')", "[]")
    ),
    "a huge file": Attempt("with open('f', 'wb') as f:\n  while True: f.write(b'0' * 2**16)", "File too large"),
    "huge files": Attempt("for i in range(99):\n  with open(f'{i}', 'wb') as f: f.write(b'0' * 2**20)", FULL),
    "many files": Attempt("for i in range(10**6): open(f'{i}', 'w').close()", FULL),
    "files hidden by long names": Attempt(
        "for _ in range(30): os.mkdir('d' * 250); os.chdir('d' * 250)\n"
        "for i in range(10**6): open(f'{i}', 'w').close()", FULL,
    ),
    "many open files": Attempt("keep = [open(os.__file__) for _ in range(999)]", "Too many open files"),
    # secrets and other processes
    "environment": Attempt("print(os.environ.get(KEY), dict(os.environ))", "None"),
    "environment of process 1": Attempt("print(open('/proc/1/environ').read())", HIDDEN),
    "environment of the parent": Attempt("print(open(f'/proc/{PARENT}/environ').read())", HIDDEN),
    "memory of the zygote": Attempt("open(f'/proc/{os.getppid()}/mem', 'rb').read(1); print(ESCAPED)", HIDDEN),
    "open files through /proc": Attempt("print(ESCAPED, os.listdir('/proc/self/fd'))", HIDDEN, free=True),
    "inherited open files": Attempt(
        "import fcntl\nfor fd in range(4, 1024):\n  try: fcntl.fcntl(fd, fcntl.F_GETFD); print(ESCAPED, fd)\n  except OSError: pass\nprint('none')",
        "none",
    ),
    "kill the parent": Attempt("os.kill(PARENT, signal.SIGUSR1); print(ESCAPED)", DENIED),
    "stop the zygote": Attempt("os.kill(os.getppid(), signal.SIGSTOP); print(ESCAPED)", DENIED),
    "kill everybody": Attempt("os.kill(-1, signal.SIGKILL); print(ESCAPED)", DENIED),
    "kill the group": Attempt("os.killpg(0, signal.SIGKILL); print(ESCAPED)", DENIED),
    "signal through a pidfd": Attempt("signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9); print(ESCAPED)", DENIED),
    "signal through a pipe": Attempt("import fcntl\nfcntl.fcntl(1, fcntl.F_SETOWN, os.getppid()); print(ESCAPED)", DENIED, free=True),
    "limits of the zygote": Attempt("import resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0)); print(ESCAPED)", DENIED),
    "trace the zygote": Attempt(LIBC + "print(ESCAPED if libc.ptrace(16, os.getppid(), 0, 0) == 0 else 'refused')", "refused"),
    "read the zygote's memory": Attempt(
        LIBC + "print(ESCAPED if libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0) == 0 else 'refused')", "refused"
    ),
    "take the zygote's files": Attempt(CALLS + "attempt(438, 3, 0, 0)", "Permission denied"),
    # more power
    "mount": Attempt(LIBC + "print(ESCAPED if libc.mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0 else 'refused')", "refused"),
    "unmount": Attempt(LIBC + "print(ESCAPED if libc.umount2(b'/tmp', 2) == 0 else 'refused')", "refused"),
    "unshare": Attempt(LIBC + "print(ESCAPED if libc.unshare(0x10000000) == 0 else 'refused')", "refused", free=True),
    "setns": Attempt(LIBC + "print(ESCAPED if libc.setns(1, 0) == 0 else 'refused')", "refused"),
    "chroot": Attempt("os.chroot('.'); print(ESCAPED)", DENIED),
    "become root": Attempt("os.setuid(0); print(ESCAPED)", DENIED),
    "run a setuid program": Attempt("os.execv('/bin/su', ['su']); print(ESCAPED)", f"{DENIED}|{HIDDEN}"),
    "run a program": Attempt("import subprocess; print(ESCAPED, subprocess.run(['true']))", f"{DENIED}|{HIDDEN}"),
    "run the interpreter again": Attempt("os.execv('/usr/bin/python3', ['python3', '-c', 'print(1)'])", DENIED),
    "io_uring": Attempt(CALLS + "attempt(425, 8, bytes(120))", "Permission denied"),
    "system calls of 32 bits": Attempt(
        "import mmap\npage = mmap.mmap(-1, 4096, prot=7)\npage.write(bytes.fromhex('b814000000cd80c3'))\n"
        "start = ctypes.addressof(ctypes.c_char.from_buffer(page))\nprint(ESCAPED, ctypes.CFUNCTYPE(ctypes.c_int)(start)())",
        "killed by signal 31",
        free=True,
    ),
    "a core dump": Attempt("import resource\nresource.setrlimit(resource.RLIMIT_CORE, (9, 9)); print(ESCAPED)", "ValueError|PermissionError"),
    "raised limits": Attempt("import resource\nresource.setrlimit(resource.RLIMIT_CPU, (99, 99)); print(ESCAPED)", "ValueError|PermissionError"),
    # too much of everything
    "fork": Attempt("print(ESCAPED if os.fork() else '')", DENIED),
    "fork bomb": Attempt("while True:\n  try: os.fork(); print(ESCAPED)\n  except OSError: pass", "error: CPU time of 1 s used up"),
    "clone3": Attempt(CALLS + "attempt(435, bytes(88), 88)", "Permission denied"),
    "thread bomb": Attempt("import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start(); print(ESCAPED)", "can't start new thread"),
    "a process that stays": Attempt("import multiprocessing as m\nm.Process(target=print).start(); print(ESCAPED)", DENIED),
    "10 GB": Attempt("x = bytearray(10 * 2**30); print(ESCAPED)", "MemoryError"),
    "10 GB, shared": Attempt("import mmap\nx = mmap.mmap(-1, 10 * 2**30); print(ESCAPED)", "Cannot allocate memory"),
    "10 GB, numpy": Attempt("import numpy\nx = numpy.ones(10 * 2**27); print(ESCAPED)", "Unable to allocate"),
    "memory outside the limit": Attempt("os.ftruncate(os.memfd_create('x'), 2**34); print(ESCAPED)", DENIED),
    "memory bit by bit": Attempt("x = []\nwhile True: x.append(bytearray(2**20))", "MemoryError|error: CPU time"),
    "endless loop": Attempt("while True: pass", "error: CPU time of 1 s used up"),
    "endless loop that catches": Attempt(
        "for n in range(1, 32):\n  try: signal.signal(n, signal.SIG_IGN)\n  except OSError: pass\nwhile True:\n  try:\n    while True: pass\n  except BaseException: pass",
        "error: CPU time of 1 s used up",
    ),
    "a loop in C": Attempt("10 ** 10 ** 9", "error: CPU time of 1 s used up"),
    "endless sleep": Attempt("import time; time.sleep(10**6)", "error: wall time of 1.5 s used up"),
    "endless output": Attempt("while True: print('x' * 99)", "error: more than 65536 bytes printed"),
    "endless reasons": Attempt("while True: os.write(3, b'x' * 99)", "error: more than 65536 bytes printed"),
    # tricks on the zygote
    "exit at once": Attempt("os._exit(3)", "error: exit status 3"),
    "crash": Attempt("ctypes.string_at(0)", "error: killed by signal 11"),
    "deep recursion": Attempt("sys.setrecursionlimit(10**9)\nf = lambda x: f(repr(x) and x)\nclass A:\n  def __repr__(self): return repr(self)\nf(A())", "killed by signal 11|RecursionError|MemoryError"),
    "closed ends": Attempt("os.closerange(0, 256)\nwhile True: pass", "error: CPU time of 1 s used up"),
    "closed ends, asleep": Attempt("os.closerange(0, 256)\nimport time; time.sleep(99)", "error: wall time of 1.5 s used up"),
    "an alarm": Attempt("signal.setitimer(signal.ITIMER_REAL, 0.05); signal.pause()", "error: killed by signal 14"),
    "stop oneself": Attempt("os.kill(os.getpid(), signal.SIGSTOP); print(ESCAPED)", DENIED),
    "forged replies": Attempt(
        "forged = b'{\"ok\": true, \"text\": \"43\"}\\n'\nfor fd in range(256):\n  try: os.write(fd, forged)\n  except OSError: pass",
        "forged|43",
    ),
    "a forged verdict": Attempt("os.write(3, b'{\"failed\": \"\"}'); os._exit(1)", r'\{"failed": ""\}'),
    "poisoned modules": Attempt("import math, builtins\nbuiltins.print = math.sqrt = lambda x: 43\nsys.modules['math'] = None", "no output", then=("import math; print(math.sqrt(1764))", "42.0")),
    "names for the next call": Attempt("x = 43", "no output", then=("x", "NameError: name 'x' is not defined")),
}  # fmt: skip
ATTEMPTS |= {
    "size of a file": Attempt("print(ESCAPED, os.stat(FILE).st_size)", HIDDEN, free=True),
    "where the interpreter lies": Attempt("print(ESCAPED if os.__file__ == HOME else 'hidden')", "hidden", free=True),
    "name of the machine": Attempt("print(ESCAPED if os.uname().nodename == MACHINE else 'hidden')", "hidden", free=True),
    "number of the user": Attempt("print(ESCAPED if os.getuid() == USER else 'hidden')", "hidden", free=True),
    "processes that run": Attempt("print(ESCAPED if os.path.exists(f'/proc/{PARENT}') else 'hidden')", "hidden", free=True),
    "another package": Attempt("print(open(f'{os.path.dirname(os.__file__)}/site-packages/pip/__init__.py').read(), ESCAPED)", f"{HIDDEN}|{DENIED}"),
}  # fmt: skip
WEAKER = {
    "size of a file": "Landlock hides what is in a file, not that it is there, its size, owner and times",
    "where the interpreter lies": "files stay where they are without a mount namespace",
    "name of the machine": "it takes a namespace to have another one",
    "number of the user": "it takes a namespace to have another one",
    "processes that run": "their folders in /proc can be asked for, as any file; what is in them cannot be read",
}
"""Attempt -> why it succeeds in the mode `landlock`. All else fails there as it does in bubblewrap."""
SEEN_BY_LANDLOCK = {
    "walk up from the folder": DENIED,  # one may stand in a folder of the machine, and see nothing there
}
if platform.machine() != "x86_64":
    del ATTEMPTS["system calls of 32 bits"]


class Outside:
    """What an attempt could reach: a file with a secret, listening sockets, and signals to this process."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "secret"
        self.changed_at = 10**18
        self.file.write_text(SECRET)
        abstract = f"\0sparkctl-{os.getpid()}"
        self.sockets = [socket.socket(family) for family in (socket.AF_INET, socket.AF_INET6)]
        self.sockets += [socket.socket(socket.AF_UNIX) for _ in range(2)]
        # A short name: that of a socket may have 107 bytes.
        self.folder = tempfile.TemporaryDirectory(prefix="sparkctl-")
        unix = f"{self.folder.name}/socket"
        for each, address in zip(self.sockets, (("127.0.0.1", 0), ("::1", 0), unix, abstract), strict=True):
            each.bind(address)
            each.listen()
        port, port6 = (each.getsockname()[1] for each in self.sockets[:2])
        datagrams = f"{self.folder.name}/datagrams"
        for family, address in ((socket.AF_INET, ("127.0.0.1", port)), (socket.AF_UNIX, datagrams)):
            self.sockets.append(socket.socket(family, socket.SOCK_DGRAM))
            self.sockets[-1].bind(address)
        for each in self.sockets:
            each.setblocking(False)
        names = {"PARENT": os.getpid(), "FILE": str(self.file), "PORT": port, "PORT6": port6, "KEY": KEY}
        names |= {"HOME": os.__file__, "MACHINE": os.uname().nodename, "USER": os.getuid()}
        names |= {"UNIX": unix, "ABSTRACT": abstract, "DATAGRAMS": datagrams, "ESCAPED": ESCAPED}
        self.prelude = "import ctypes, os, signal, socket, sys\n" + "".join(f"{k} = {v!r}\n" for k, v in names.items())
        self.signals: list[int] = []
        self.before = {n: signal.signal(n, self._note) for n in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)}
        self.changes()

    def _note(self, number: int, _: object) -> None:
        self.signals.append(number)

    def changes(self) -> list[str]:
        """What happened to it since the last look."""
        found = [f"signal {number}" for number in self.signals]
        self.signals.clear()
        for each in self.sockets[:4]:
            try:
                each.accept()[0].close()
                found.append(f"a connection to {each.getsockname()!r}")
            except BlockingIOError:
                pass
        for each in self.sockets[4:]:
            with contextlib.suppress(BlockingIOError):
                found.append(f"a packet {each.recv(9)!r}")
        if not self.file.exists() or self.file.read_text() != SECRET or self.file.stat().st_mtime_ns != self.changed_at:
            found.append("the file has changed")
            self.file.write_text(SECRET)
            os.utime(self.file, ns=(self.changed_at, self.changed_at))
        if [file.name for file in self.file.parent.iterdir()] != [self.file.name]:
            found.append("there is another file beside it")
        if os.stat("/dev/null").st_mode & 0o777 != 0o666:
            found.append("the mode of /dev/null has changed")
        return found

    def close(self) -> None:
        for each in self.sockets:
            each.close()
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.folder.cleanup()


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    os.environ[KEY] = SECRET  # before the sandbox starts
    world = Outside(tmp_path_factory.mktemp("outside"))
    yield world
    world.close()
    del os.environ[KEY]


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> Isolation:
    return request.param


@pytest.fixture(scope="module")
def repl(outside: Outside, mode: Isolation) -> Iterator[PythonRepl]:
    tool = PythonRepl(sandbox=mode, cpu_s=1, wall_s=30.0)
    yield tool
    tool.close()


@pytest.fixture(scope="module")
def hasty(outside: Outside, mode: Isolation) -> Iterator[PythonRepl]:
    """For attempts that wait."""
    tool = PythonRepl(sandbox=mode, cpu_s=1, wall_s=1.5)
    yield tool
    tool.close()


@pytest.fixture(scope="module")
def unprotected(outside: Outside) -> Iterator[PythonRepl]:
    tool = PythonRepl(sandbox="none", cpu_s=1, wall_s=30.0)
    yield tool
    tool.close()


def processes(root: int) -> set[int]:
    """A process and all that descend from it."""
    found = {root}
    for task in Path(f"/proc/{root}/task").glob("*/children"):
        for child in task.read_text().split():
            found |= processes(int(child))
    return found


SLOW = [name for name, attempt in ATTEMPTS.items() if "CPU time" in attempt.seen and name != "endless loop"]


def seen(mode: Isolation, name: str) -> str:
    """Where bubblewrap shows no file, and a file system is full, Landlock refuses to open it, and a watch ends the code."""
    if mode == "landlock":
        return SEEN_BY_LANDLOCK.get(
            name, ATTEMPTS[name].seen.replace(HIDDEN, f"{HIDDEN}|{DENIED}").replace(FULL, WATCHED)
        )
    return ATTEMPTS[name].seen


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in ATTEMPTS])
def test_nothing_escapes(repl: PythonRepl, hasty: PythonRepl, outside: Outside, mode: Isolation, name: str) -> None:
    attempt, weaker = ATTEMPTS[name], mode == "landlock" and name in WEAKER
    if "wall time" in attempt.seen:
        repl = hasty
    assert repl("6 * 7").text == "42"
    running = {kind: processes(zygote.process.pid) for kind, zygote in repl._zygotes.items()}
    observation = repl(outside.prelude + attempt.code)
    assert SECRET not in observation.text
    assert (ESCAPED in observation.text) == weaker, observation.text
    assert re.search(ESCAPED if weaker else seen(mode, name), observation.text), observation.text
    assert repl(attempt.then[0]).text == attempt.then[1]
    assert outside.changes() == []
    # The zygote that answered is the one that runs still: nothing killed it, and nothing was added to it.
    assert {kind: processes(repl._zygotes[kind].process.pid) for kind in running} == running


@pytest.mark.parametrize("name", [name for name, attempt in ATTEMPTS.items() if attempt.free])
def test_the_attempt_would_succeed_without_the_sandbox(unprotected: PythonRepl, outside: Outside, name: str) -> None:
    observation = unprotected(outside.prelude + ATTEMPTS[name].code)
    assert SECRET in observation.text or ESCAPED in observation.text, observation.text
    outside.changes()


def test_a_flood_of_attempts_leaves_the_sandbox_as_it_was(repl: PythonRepl, outside: Outside, mode: Isolation) -> None:
    repl("import numpy")
    zygotes = dict(repl._zygotes)
    for attempt in ATTEMPTS.values():
        if attempt.seen in (DENIED, HIDDEN, "refused", "none", "Permission denied"):
            repl(outside.prelude + attempt.code)
    assert repl._zygotes == zygotes
    for zygote in zygotes.values() if os.geteuid() == 0 else ():  # to others the zygote's files are closed
        (zygote_itself,) = processes(zygote.process.pid) - ({zygote.process.pid} if mode == "bwrap" else set())
        assert len(os.listdir(f"/proc/{zygote_itself}/fd")) < 10
        assert " /tmp " not in Path(f"/proc/{zygote_itself}/mounts").read_text()
    assert outside.changes() == []
    assert repl("import os; os.listdir('.')").text == "[]"


OUTER = """
import json, os, socket, sys
port, abstract, file, parent = json.loads(sys.argv[1])
def refused(what):
    try:
        return what() and False
    except OSError:
        return True
def connect(*address, family=socket.AF_INET):
    socket.socket(family).connect(*address)
print(json.dumps({
    "tcp": refused(lambda: connect(("127.0.0.1", port))),
    "abstract": refused(lambda: connect(abstract, family=socket.AF_UNIX)),
    "file": refused(lambda: open(file)),
    "passwd": refused(lambda: open("/etc/passwd")),
    "parent": refused(lambda: os.kill(parent, 0)),
    "processes": refused(lambda: os.listdir("/proc")),
    "write": refused(lambda: open("/zygote.py", "a")),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "users": refused(lambda: os.setuid(0)),
    "variables": sorted(os.environ),
    "folders": sorted(os.listdir("/packages")),
    "foreign": os.path.exists(os.path.dirname(os.__file__) + "/site-packages/pip"),
}))
"""


def test_where_bubblewrap_works_its_walls_hold(tmp_path: Path) -> None:
    """Walls that do not hold when they are tried count as a sandbox that is missing, and its tests here would be left out."""
    script = tmp_path / "script.py"
    script.write_text("print(1)")
    works = [
        bwrap for bwrap in walls.bwraps() if subprocess.run(walls.command(bwrap, script), timeout=60).returncode == 0
    ]
    if not works:
        pytest.skip("no bubblewrap works here")
    assert missing("bwrap") is None


@pytest.mark.skipif(bool(missing("bwrap")), reason=str(missing("bwrap")))
def test_bubblewrap_holds_without_the_list_of_system_calls(outside: Outside, tmp_path: Path) -> None:
    """The list is put on by the zygote, and this script is not it."""
    script = tmp_path / "script.py"
    script.write_text(OUTER)
    port, abstract = outside.sockets[0].getsockname()[1], f"\0sparkctl-{os.getpid()}"
    asked = json.dumps([port, abstract, str(outside.file), os.getpid()])
    done = subprocess.run(
        [*walls.command(walls.bwraps()[0], script), asked], capture_output=True, text=True, check=True, timeout=60
    )
    seen = json.loads(done.stdout)
    names = ["LC_ALL", "LD_LIBRARY_PATH", "OPENBLAS_NUM_THREADS", "PWD", "PYTHONHASHSEED", "TZ"]
    assert [seen.pop("interfaces"), seen.pop("variables")] == [["lo"], names]
    assert {"numpy", "sympy", "mpmath"} <= set(seen.pop("folders")) <= {"numpy", "numpy.libs", "sympy", "mpmath"}
    assert seen.pop("foreign") is False
    assert seen == dict.fromkeys(seen, True)
    assert outside.changes() == []
