"""What must hold of the list of system calls: the program that the kernel runs says of every call what the list says.

The program is run here by an interpreter of a few lines, over architectures, numbers and arguments; on this kernel it is
tried by the escape suite (test_escapes.py).
"""

import ctypes
import errno
import functools
import operator
import os
import platform
import re
import struct
import tempfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparkctl.tools.python import system_calls
from sparkctl.tools.python.system_calls import When

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386, ARM, X32 = 0x40000003, 0x40000028, 0x40000000
PASS, REFUSE, KILL = 0x7FFF0000, 0x00050000 | errno.EACCES, 0x80000000
KINDS = [(machine, seen) for machine in AUDIT_ARCH for seen in (False, True)]
NO_ARGUMENTS = (0,) * 6


JUMPS = {0x15: operator.eq, 0x25: operator.gt, 0x35: operator.ge, 0x45: lambda a, k: bool(a & k)}
"""Conditional jumps. We use the first; libseccomp the others too."""


@functools.cache
def steps_of(program: bytes) -> list[tuple[int, int, int, int]]:
    return [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]


def run(program: bytes, arch: int, number: int, arguments: tuple[int, ...] = NO_ARGUMENTS) -> int:
    """What a filter answers: the kernel's machine, as far as filters for seccomp use it."""
    data, steps = struct.pack("<IIQ6Q", number, arch, 0xAAAA, *arguments), steps_of(program)
    at = a = 0
    while True:
        code, if_true, if_false, k = steps[at]
        at += 1
        if code == 0x20:
            (a,) = struct.unpack_from("<I", data, k)
        elif code == 0x54:
            a &= k
        elif code in JUMPS:
            at += if_true if JUMPS[code](a, k) else if_false
        elif code == 0x05:
            at += k
        elif code == 0x06:
            return k
        else:
            raise AssertionError(f"step {at - 1}: {code:#x}")


@functools.cache
def meaning(machine: str, seen: bool) -> dict[int, When | None]:
    """Number -> when it passes."""
    when, numbers = system_calls.passing(files_are_seen=seen), system_calls.numbers(machine)
    return {numbers[name]: when[name] for name in when if name in numbers}


def by_the_list(machine: str, seen: bool, arch: int, number: int, arguments: tuple[int, ...]) -> int:
    """The same, said plainly."""
    if arch != AUDIT_ARCH[machine]:
        return KILL
    listed = meaning(machine, seen)
    if number not in listed:
        return REFUSE
    condition = listed[number]
    if condition is None or (arguments[condition.argument] & condition.mask) in condition.values:
        return PASS
    return REFUSE


halves = st.one_of(
    st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 3, 0x200, 0x201, 0x203, 1030, 0x5401, 2**32 - 1])
)
argument = st.builds(
    lambda high, low: high << 32 | low, st.one_of(st.just(0), st.sampled_from([1, 2**31]), halves), halves
)
numbers = st.one_of(
    st.integers(0, 470), st.integers(0, 470).map(lambda n: n | X32), st.integers(0, 2**32 - 1), st.just(2**32 - 1)
)


@given(
    kind=st.sampled_from(KINDS),
    arch=st.sampled_from([*AUDIT_ARCH.values(), *AUDIT_ARCH.values(), I386, ARM, 0]),
    number=numbers,
    arguments=st.tuples(*[argument] * 6),
)
@example(("x86_64", False), AUDIT_ARCH["x86_64"], 72, (0, 1 << 32, 0, 0, 0, 0))  # the upper half counts
def test_the_program_says_what_the_list_says(kind, arch, number, arguments):
    machine, seen = kind
    program = system_calls.program(machine, files_are_seen=seen)
    assert run(program, arch, number, arguments) == by_the_list(machine, seen, arch, number, arguments)


@pytest.mark.parametrize(("machine", "seen"), KINDS)
def test_every_number_is_answered_as_listed(machine, seen):
    program = system_calls.program(machine, files_are_seen=seen)
    assert len(program) // 8 < 4096, "the kernel takes no more steps"
    for number in (*range(600), *range(X32, X32 + 600)):
        for values in (NO_ARGUMENTS, (1,) * 6, (2,) * 6, (2**32,) * 6, (0x200,) * 6, (3,) * 6):
            expected = by_the_list(machine, seen, AUDIT_ARCH[machine], number, values)
            assert run(program, AUDIT_ARCH[machine], number, values) == expected


def test_the_list_is_the_one_that_libseccomp_compiled_before():
    """Written out once more, from before the filter was put together here."""
    names = [
        "read",
        "readv",
        "pread64",
        "write",
        "writev",
        "pwrite64",
        "lseek",
        "close",
        "close_range",
        "dup",
        "dup2",
        "dup3",
        "flock",
        "fsync",
        "fdatasync",
        "open",
        "openat",
        "stat",
        "lstat",
        "fstat",
        "newfstatat",
        "statx",
        "statfs",
        "fstatfs",
        "access",
        "faccessat",
        "faccessat2",
        "readlink",
        "readlinkat",
        "getdents64",
        "getcwd",
        "chdir",
        "fchdir",
        "umask",
        "mkdir",
        "mkdirat",
        "rmdir",
        "unlink",
        "unlinkat",
        "rename",
        "renameat",
        "renameat2",
        "truncate",
        "ftruncate",
        "utimensat",
        "sendfile",
        "copy_file_range",
        "fadvise64",
        "brk",
        "mmap",
        "munmap",
        "mprotect",
        "mremap",
        "madvise",
        "msync",
        "futex",
        "set_robust_list",
        "rseq",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "rt_sigpending",
        "sigaltstack",
        "pause",
        "alarm",
        "getitimer",
        "setitimer",
        "restart_syscall",
        "time",
        "gettimeofday",
        "clock_gettime",
        "clock_getres",
        "nanosleep",
        "clock_nanosleep",
        "select",
        "pselect6",
        "poll",
        "ppoll",
        "epoll_create1",
        "epoll_ctl",
        "epoll_wait",
        "epoll_pwait",
        "eventfd2",
        "pipe",
        "pipe2",
        "sendto",
        "recvfrom",
        "shutdown",
        "getsockname",
        "getsockopt",
        "setsockopt",
        "getpid",
        "getppid",
        "gettid",
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
        "getgroups",
        "getpgrp",
        "getpgid",
        "getsid",
        "uname",
        "sysinfo",
        "getcpu",
        "getrusage",
        "times",
        "sched_getaffinity",
        "sched_yield",
        "getrandom",
        "exit",
        "exit_group",
    ]
    before = dict.fromkeys(names) | {
        "ioctl": When(1, (0x5401, 0x5421, 0x541B, 0x5450, 0x5451)),
        "fcntl": When(1, (0, 1, 2, 3, 4, 5, 6, 7, 1030)),
        "socketpair": When(0, (1,)),
        "prlimit64": When(0, (0,)),
    }
    assert system_calls.passing() == before
    weaker = system_calls.passing(files_are_seen=True)
    assert before.keys() - weaker.keys() == {"truncate", "utimensat"}
    assert {name for name in weaker if weaker[name] != before[name]} == {"open", "openat", "sendto"}


@pytest.mark.parametrize(
    ("flags", "passes"),
    [
        (os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY, True),
        (os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, True),
        (os.O_RDWR | os.O_TRUNC, True),
        (os.O_RDWR | os.O_APPEND, True),
        (os.O_RDONLY | os.O_TRUNC, False),
        (os.O_ACCMODE, False),
        (os.O_ACCMODE | os.O_TRUNC, False),
    ],
)
def test_files_that_are_seen_are_opened_for_reading_or_writing_alone(flags, passes):
    program = system_calls.program("x86_64", files_are_seen=True)
    assert (run(program, AUDIT_ARCH["x86_64"], 257, (0, 0, flags, 0, 0, 0)) == PASS) == passes
    assert run(system_calls.program("x86_64"), AUDIT_ARCH["x86_64"], 257, (0, 0, flags, 0, 0, 0)) == PASS


@given(st.lists(st.integers(0, 2**64 - 1), min_size=60, max_size=300, unique=True), st.integers(0, 2**64 - 1))
def test_however_long_a_condition_is_it_is_jumped_over(values, other):
    """A conditional jump reaches 255 steps; 60 values take more."""
    steps = system_calls._case(7, When(2, tuple(values)))
    program = struct.pack("<HBBI", 0x20, 0, 0, 0) + steps + struct.pack("<HBBI", 0x06, 0, 0, 0xE0D)
    assert run(program, 0, 8) == 0xE0D
    for value in (*values[:3], values[-1], other):
        assert run(program, 0, 7, (0, 0, value, 0, 0, 0)) == (PASS if value in values else REFUSE)


def test_numbers_are_those_of_the_kernels_own_headers():
    """Of this machine's, where they are installed."""
    machine = platform.machine()
    headers = ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"]
    path = next((path for path in headers if os.path.isfile(path)), None)
    if machine != "x86_64" or path is None:
        pytest.skip("the kernel's header for x86-64 is not installed")
    with open(path) as header:
        defined = {name: int(n) for name, n in re.findall(r"#define __NR_(\w+)\s+(\d+)", header.read())}
    assert {name: defined.get(name) for name in system_calls.numbers(machine)} == system_calls.numbers(machine)


# ---- against libseccomp, where it is installed ------------------------------------------------------------------------


class Equal(ctypes.Structure):
    """libseccomp's struct scmp_arg_cmp."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


@pytest.fixture(scope="module")
def libseccomp():
    try:
        return ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp is not installed: its filter is not compared with ours")


@pytest.mark.parametrize("machine", AUDIT_ARCH)
def test_numbers_are_those_that_libseccomp_knows(libseccomp, machine):
    names = system_calls.passing()
    known = {name: libseccomp.seccomp_syscall_resolve_name_arch(AUDIT_ARCH[machine], name.encode()) for name in names}
    assert {name: number for name, number in known.items() if number >= 0} == system_calls.numbers(machine)


def compiled(libseccomp, seen: bool) -> bytes:
    """The same list, as libseccomp compiles it for this machine."""
    libseccomp.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(libseccomp.seccomp_init(ctypes.c_uint32(REFUSE)))
    for name, when in system_calls.passing(files_are_seen=seen).items():
        number = libseccomp.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            continue
        masked, action = 7, ctypes.c_uint32(PASS)
        for value in when.values if when else (None,):
            equal = (Equal * 1)(Equal(when.argument, masked, when.mask, value)) if when else None
            assert libseccomp.seccomp_rule_add_array(rules, action, number, int(when is not None), equal) == 0
    with tempfile.TemporaryFile() as file:
        assert libseccomp.seccomp_export_bpf(rules, file.fileno()) == 0
        libseccomp.seccomp_release(rules)
        file.seek(0)
        return file.read()


@pytest.mark.parametrize("seen", [False, True])
def test_libseccomp_lets_the_same_calls_pass(libseccomp, seen):
    machine = platform.machine()
    theirs, ours = compiled(libseccomp, seen), system_calls.program(machine, files_are_seen=seen)
    values = [0, 1, 2, 3, 7, 8, 0x200, 0x201, 0x202, 0x203, 1030, 0x5401, 0x541B, 2**32, 2**32 + 1, 2**63]
    for number in range(600):
        for value in values:
            arguments = (value,) * 6
            arch = AUDIT_ARCH[machine]
            assert (run(theirs, arch, number, arguments) == PASS) == (run(ours, arch, number, arguments) == PASS)
    # What they kill, of x32, we refuse; of another architecture both kill.
    assert run(theirs, AUDIT_ARCH[machine], X32 + 1, NO_ARGUMENTS) != PASS
    assert run(theirs, I386, 4, NO_ARGUMENTS) != PASS
