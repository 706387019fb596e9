"""The walls around model-written Python: what bubblewrap lets a process see, and which system calls pass.

Two walls, each of which would hold alone against most of what is tried. *bubblewrap* starts the interpreter in
namespaces of its own: no network, no process but its own, no file but the interpreter, the standard library, numpy,
sympy, mpmath and the shared libraries these need, all read-only and at places that say nothing of this machine. The
*filter*, compiled by libseccomp and put on each child before it runs code, is a list of what may pass, not of what
may not: computing, reading, and writing in the scratch folder. A child cannot start a process or a thread, send a
signal, open a socket or run a program; so nothing that it does outlives it.
"""

import ctypes
import errno
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from sparkctl.tools.observation import ToolFailed

PACKAGES = ("numpy", "sympy", "mpmath")
"""What the code may import beside the standard library."""
OPT_OUT = "or do without it: --set tools.python_repl.sandbox=none"

_SECCOMP = "libseccomp.so.2"
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_HOME = f"/usr/{sys.platlibdir}/{_PYTHON}"
_LOADED = re.compile(r"^\s+(?:\S+ => )?(/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)

# CAP_SYS_ADMIN, within the namespaces, is for the zygote to mount a scratch folder per call; its children lose it.
_WALLS = """
    --unshare-all --unshare-user --uid 65534 --gid 65534 --hostname sandbox --die-with-parent --as-pid-1
    --cap-drop ALL --cap-add CAP_SYS_ADMIN --clearenv --dev-bind /dev/null /dev/null --dir /tmp
"""
_START = "--remount-ro / --chdir / -- /usr/bin/python3"
_PASS = """
    read readv pread64 write writev pwrite64 lseek close close_range dup dup2 dup3 flock fsync fdatasync
    open openat stat lstat fstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat
    getdents64 getcwd chdir fchdir umask mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2
    truncate ftruncate utimensat sendfile copy_file_range fadvise64
    brk mmap munmap mprotect mremap madvise msync futex set_robust_list rseq
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending sigaltstack pause alarm getitimer setitimer restart_syscall
    time gettimeofday clock_gettime clock_getres nanosleep clock_nanosleep
    select pselect6 poll ppoll epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 pipe pipe2
    sendto recvfrom shutdown getsockname getsockopt setsockopt
    getpid getppid gettid getuid geteuid getgid getegid getgroups getpgrp getpgid getsid uname sysinfo getcpu
    getrusage times sched_getaffinity sched_yield getrandom exit exit_group
"""
_PASS_IF = (  # system call, which argument, its values
    ("ioctl", 1, (0x5401, 0x5421, 0x541B, 0x5450, 0x5451)),  # terminal? blocking? how much to read? inherited?
    ("fcntl", 1, (*range(8), 1030)),  # duplicates, flags and locks; not F_SETOWN, which lets a pipe signal a process
    ("socketpair", 0, (1,)),  # asyncio wants a pair; no other socket can be made
    ("prlimit64", 0, (0,)),  # one's own limits, not the zygote's
)
_ALLOW, _ERRNO, _EQUAL = 0x7FFF0000, 0x00050000, 4  # libseccomp's SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_CMP_EQ


class NoSandbox(ToolFailed):
    """The sandbox cannot be set up. One line: what is missing, and what to do."""


def command(script: Path) -> list[str]:
    """The command that runs a script in the sandbox; its arguments may follow. Raises NoSandbox."""
    bwrap = shutil.which("bwrap")
    if sys.platform != "linux" or bwrap is None:
        what = "needs Linux" if sys.platform != "linux" else "needs bubblewrap: apt install bubblewrap"
        raise NoSandbox(f"the sandbox of python_repl {what}, {OPT_OUT}")
    options = _WALLS.split()
    for source, place in (_visible() | {str(script): "/zygote.py"}).items():
        options += "--ro-bind", source, place
    for folder in _hidden():
        options += "--tmpfs", folder, "--remount-ro", folder
    for name, value in (environment() | {"LD_LIBRARY_PATH": "/lib"}).items():
        options += "--setenv", name, value
    return [bwrap, *options, *_START.split(), *FLAGS, "/zygote.py"]


FLAGS = ("-P", "-s", "-S", "-B", "-X", "utf8")
"""Of the interpreter: as -I, but for the hash seed of the environment."""


def environment() -> dict[str, str]:
    """All that the code finds in its environment: sets print in one order, time is UTC, arithmetic has one thread."""
    return {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}


def packages() -> Path:
    """The folder that holds numpy and sympy. Raises NoSandbox."""
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        raise NoSandbox("the sandbox of python_repl needs numpy: make setup")
    return Path(found.origin).parents[1]


@functools.cache
def system_calls() -> bytes:
    """The filter as the kernel takes it (an array of sock_filter). Raises NoSandbox."""
    try:
        library = ctypes.CDLL(_SECCOMP)
    except OSError:
        raise NoSandbox(f"the sandbox of python_repl needs libseccomp: apt install libseccomp2, {OPT_OUT}") from None
    library.seccomp_init.restype = ctypes.c_void_p
    filters = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ERRNO | errno.EACCES)))
    try:
        for name in _PASS.split():
            _let_pass(library, filters, name)
        for name, place, values in _PASS_IF:
            for value in values:
                _let_pass(library, filters, name, _Equal(place, _EQUAL, value, 0))
        with tempfile.TemporaryFile() as file:
            _check(library.seccomp_export_bpf(filters, file.fileno()))
            file.seek(0)
            return file.read()
    finally:
        library.seccomp_release(filters)


class _Equal(ctypes.Structure):
    """libseccomp's struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def _let_pass(library: ctypes.CDLL, filters: ctypes.c_void_p, name: str, *where: _Equal) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:  # a machine without this system call has no need to let it pass
        conditions = (_Equal * len(where))(*where)
        action = ctypes.c_uint32(_ALLOW)
        _check(library.seccomp_rule_add_array(filters, action, number, len(where), conditions))


def _check(code: int) -> None:
    if code != 0:
        raise NoSandbox(f"the sandbox of python_repl: libseccomp cannot build its filter ({os.strerror(-code)})")


@functools.cache
def _visible() -> dict[str, str]:
    """File or folder of this machine -> where the code sees it."""
    site, home = packages(), sysconfig.get_path("stdlib")
    seen = {os.path.realpath(sys.executable): "/usr/bin/python3", home: _HOME}
    seen |= {str(path): f"/packages/{path.name}" for name in PACKAGES for path in site.glob(f"{name}*") if _code(path)}
    for folder, files in ((Path(home), "lib-dynload/*.so"), (site, "numpy/**/*.so")):
        for library in _libraries(folder, files):
            # The loader keeps its place, which the interpreter names in full; the others are found by name.
            place = library if Path(library).name.startswith("ld-") else f"/lib/{Path(library).name}"
            if site not in Path(library).parents and place not in seen.values():
                seen[library] = place
    return seen


def _code(path: Path) -> bool:
    return path.name in PACKAGES or path.suffix == ".libs"


def _libraries(folder: Path, pattern: str) -> list[str]:
    """The shared libraries that the interpreter and these extension modules need, as the loader itself lists them."""
    files = [f"./{path.relative_to(folder)}" for path in folder.glob(pattern) if "tkinter" not in path.name]
    listing = subprocess.run(
        [os.path.realpath(sys.executable), "-c", ""],
        cwd=folder,  # names relative to it: the list may hold no space
        env={"LD_TRACE_LOADED_OBJECTS": "1", "LD_PRELOAD": " ".join(files)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return _LOADED.findall(listing)


def _hidden() -> list[str]:
    """What lies within the standard library and is not of it."""
    home = Path(sysconfig.get_path("stdlib"))
    return [f"{_HOME}/{name}" for name in ("site-packages", "dist-packages") if (home / name).is_dir()]
