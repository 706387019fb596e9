"""Which system calls a sandboxed child may make, as the program that the kernel runs at each one (classic BPF).

It is a list of what may pass, not of what may not: computing, reading, and writing in the scratch folder. A child cannot
start a process or a thread, send a signal, open a socket or run a program; so nothing that it does outlives it. The
program is put together here, from the numbers of two architectures, so that no library has to be there: libseccomp,
asked for the same list, lets the same calls pass (a test compares them where it is installed).

What is not on the list fails with EACCES, x32 calls among it, whose numbers are others. A call of another architecture
(32 bits) ends the process.
"""

import errno
import os
import struct
from typing import NamedTuple

WHOLE = 2**64 - 1


class When(NamedTuple):
    """Which argument of a system call, counted from 0, decides; the values it may have in the bits of `mask`."""

    argument: int
    values: tuple[int, ...]
    mask: int = WHOLE


_NUMBERS = """
    read 0 63, readv 19 65, pread64 17 67, write 1 64, writev 20 66, pwrite64 18 68, lseek 8 62, close 3 57,
    close_range 436 436, dup 32 23, dup2 33 -, dup3 292 24, flock 73 32, fsync 74 82, fdatasync 75 83, fcntl 72 25,
    open 2 -, openat 257 56, stat 4 -, lstat 6 -, fstat 5 80, newfstatat 262 79, statx 332 291, statfs 137 43,
    fstatfs 138 44, access 21 -, faccessat 269 48, faccessat2 439 439, readlink 89 -, readlinkat 267 78,
    getdents64 217 61, getcwd 79 17, chdir 80 49, fchdir 81 50, umask 95 166, mkdir 83 -, mkdirat 258 34,
    rmdir 84 -, unlink 87 -, unlinkat 263 35, rename 82 -, renameat 264 38, renameat2 316 276, ioctl 16 29,
    truncate 76 45, ftruncate 77 46, utimensat 280 88, sendfile 40 71, copy_file_range 326 285, fadvise64 221 223,
    brk 12 214, mmap 9 222, munmap 11 215, mprotect 10 226, mremap 25 216, madvise 28 233, msync 26 227,
    futex 202 98, set_robust_list 273 99, rseq 334 293, prlimit64 302 261,
    rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136, sigaltstack 131 132,
    pause 34 -, alarm 37 -, getitimer 36 102, setitimer 38 103, restart_syscall 219 128,
    time 201 -, gettimeofday 96 169, clock_gettime 228 113, clock_getres 229 114, nanosleep 35 101,
    clock_nanosleep 230 115, select 23 -, pselect6 270 72, poll 7 -, ppoll 271 73, epoll_create1 291 20,
    epoll_ctl 233 21, epoll_wait 232 -, epoll_pwait 281 22, eventfd2 290 19, pipe 22 -, pipe2 293 59,
    socketpair 53 199, sendto 44 206, recvfrom 45 207, shutdown 48 210, getsockname 51 204, getsockopt 55 209,
    setsockopt 54 208, getpid 39 172, getppid 110 173, gettid 186 178, getuid 102 174, geteuid 107 175,
    getgid 104 176, getegid 108 177, getgroups 115 158, getpgrp 111 -, getpgid 121 155, getsid 124 156, uname 63 160,
    sysinfo 99 179, getcpu 309 168, getrusage 98 165, times 100 153, sched_getaffinity 204 123, sched_yield 24 124,
    getrandom 318 278, exit 60 93, exit_group 231 94
"""
"""Name, number on x86-64, number on aarch64 (the newer architecture lacks those with a dash, and needs none of them)."""

_WHEN = {
    "ioctl": When(1, (0x5401, 0x5421, 0x541B, 0x5450, 0x5451)),  # terminal? blocking? how much to read? inherited?
    "fcntl": When(1, (*range(8), 1030)),  # duplicates, flags, locks; not F_SETOWN, which lets a pipe signal a process
    "socketpair": When(0, (1,)),  # asyncio wants a pair; no other socket can be made
    "prlimit64": When(0, (0,)),  # one's own limits, not the zygote's
}
_WRITES = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_TRUNC)
_WHEN_FILES_ARE_SEEN = {
    # Landlock looks at reading and writing. The fourth mode of opening is neither, and acts on a device all the same;
    # kernels before 6.2 let a file that may only be read be emptied.
    "open": When(1, _WRITES, os.O_ACCMODE | os.O_TRUNC),
    "openat": When(2, _WRITES, os.O_ACCMODE | os.O_TRUNC),
    "sendto": When(4, (0,)),  # to the other end of the pair, not to the address of somebody's socket
}
_NEVER_WHEN_FILES_ARE_SEEN = ("truncate", "utimensat")
"""By name, without opening; no kernel's Landlock sees the second, so it could touch any file of the user."""

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine -> its column in _NUMBERS, AUDIT_ARCH_*."""
_LOAD, _AND, _EQUAL, _JUMP, _RETURN = 0x20, 0x54, 0x15, 0x05, 0x06  # BPF_LD+W+ABS, ALU+AND+K, JMP+JEQ+K, JMP+JA, RET+K
_KILL, _REFUSE, _PASS = 0x80000000, 0x00050000 | errno.EACCES, 0x7FFF0000  # SECCOMP_RET_KILL_PROCESS, _ERRNO, _ALLOW
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # where they stand in struct seccomp_data


def known(machine: str) -> bool:
    """Whether there is a program for this machine, as `platform.machine()` names it."""
    return machine in _ARCHITECTURES


def passing(*, files_are_seen: bool = False) -> dict[str, When | None]:
    """System call -> when it passes; None: always. `files_are_seen`: the code sees names of files that are not for it, as
    under Landlock, so that what acts on a file by its name is refused too."""
    names = [entry.split()[0] for entry in _NUMBERS.split(",")]
    when: dict[str, When | None] = {name: _WHEN.get(name) for name in names}
    if files_are_seen:
        when |= _WHEN_FILES_ARE_SEEN
        for name in _NEVER_WHEN_FILES_ARE_SEEN:
            del when[name]
    return when


def numbers(machine: str) -> dict[str, int]:
    """System call -> its number on this machine, without those that it lacks."""
    column, _ = _ARCHITECTURES[machine]
    entries = (entry.split() for entry in _NUMBERS.split(","))
    return {name: int(number[column]) for name, *number in entries if number[column] != "-"}


def program(machine: str, *, files_are_seen: bool = False) -> bytes:
    """The filter as the kernel takes it: an array of struct sock_filter."""
    _, architecture = _ARCHITECTURES[machine]
    number, when = numbers(machine), passing(files_are_seen=files_are_seen)
    code = _load(_ARCHITECTURE) + _step(_EQUAL, architecture, 1, 0) + _step(_RETURN, _KILL) + _load(_NUMBER)
    for name in filter(number.__contains__, when):
        code += _case(number[name], when[name])
    return code + _step(_RETURN, _REFUSE)


def _case(number: int, when: When | None) -> bytes:
    """What is done with one system call. The rest of the program is jumped to by JA: a conditional jump reaches 255 steps."""
    if when is None:
        return _step(_EQUAL, number, 0, 1) + _step(_RETURN, _PASS)
    tests = b"".join(_test(when, value) for value in when.values) + _step(_RETURN, _REFUSE)
    return _step(_EQUAL, number, 1, 0) + _step(_JUMP, _steps(tests)) + tests


def _test(when: When, value: int) -> bytes:
    """Pass where the argument has this value, in both its halves (BPF compares 32 bits); else go on."""
    end = _step(_RETURN, _PASS)
    for half in (0, 4):  # the lower one comes first in memory, on both architectures
        mask, wanted = (when.mask >> 8 * half) % 2**32, (value >> 8 * half) % 2**32
        at = _load(_ARGUMENTS + 8 * when.argument + half) + _step(_AND, mask)
        end = at + _step(_EQUAL, wanted, 0, _steps(end)) + end
    return end


def _load(place: int) -> bytes:
    return _step(_LOAD, place)


def _step(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, k)


def _steps(code: bytes) -> int:
    return len(code) // 8
