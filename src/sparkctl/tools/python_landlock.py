"""Landlock, asked for by ctypes: what this process may read and write from now on, and all that it forks.

Standard library only: the zygote of python_repl takes it along (see python_zygote.py). Each call of `confine` adds a layer;
what one layer forbids no later one allows. The kernel says which version of Landlock it has; what an older one does not
know it does not forbid: sockets (before 6.7), abstract sockets and signals (before 6.12). The list of system calls forbids
these in any case. It also keeps from what Landlock looks at late or never: see system_calls.py.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Mapping

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same numbers on every architecture
_VERSION, _BENEATH, _NO_NEW_PRIVS = 1, 1, 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15

ALL = (1 << 16) - 1
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""Rights that a rule on something that is no folder may name."""
CHANGE = ALL & ~(EXECUTE | READ_FILE | READ_DIR | IOCTL_DEV)
"""Every right to leave something different from what it was."""
SCRATCH = READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | MAKE_DIR | MAKE_REG | REMOVE_DIR | REMOVE_FILE | REFER
RIGHTS = {"read": READ_FILE | READ_DIR, "list": READ_DIR}

_SINCE = {1: (1 << 13) - 1, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
"""Version of Landlock -> the rights to files that came with it."""
_TCP, _SCOPES = 0b11, 0b11  # bind and connect (version 4); abstract sockets and signals (version 6)


def version(libc: ctypes.CDLL) -> int:
    """Of the kernel's Landlock. Raises OSError where it has none, or it is off."""
    return _call(libc, _CREATE, None, 0, _VERSION)


def known(version: int) -> int:
    """The rights to files that this version looks at."""
    return sum(rights for since, rights in _SINCE.items() if since <= version)


def first_layer(libc: ctypes.CDLL, readable: Mapping[str, str], folder: str) -> None:
    """Read what is given (path -> `read` or `list`), write beneath the folder, and nothing else. Raises OSError."""
    rules = {path: RIGHTS[how] for path, how in readable.items()}
    confine(libc, ALL, rules | {folder: SCRATCH, os.devnull: READ_FILE | WRITE_FILE})


def second_layer(libc: ctypes.CDLL, folder: str) -> None:
    """Write beneath this folder and nowhere beside it. Raises OSError."""
    confine(libc, CHANGE, {folder: SCRATCH, os.devnull: WRITE_FILE})


def confine(libc: ctypes.CDLL, handled: int, rules: Mapping[str, int]) -> None:
    """Of the handled rights, only those in the rules: path -> rights to it and all beneath. A path that is not there is
    left out. No TCP, and nothing reaches processes outside. Raises OSError."""
    there = version(libc)
    handled &= known(there)
    fields = struct.pack("QQQ", handled, _TCP, _SCOPES)[: 24 if there >= 6 else 16 if there >= 4 else 8]
    ruleset = _call(libc, _CREATE, fields, len(fields), 0)
    try:
        for path, rights in rules.items():
            _add(libc, ruleset, path, rights & handled)
        if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "cannot give up new privileges")
        _call(libc, _RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _add(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= OF_A_FILE
        if rights:  # the kernel refuses a rule without any
            _call(libc, _ADD, ruleset, _BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(libc: ctypes.CDLL, number: int, *arguments: object) -> int:
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(
        ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments)
    )
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return int(result)
