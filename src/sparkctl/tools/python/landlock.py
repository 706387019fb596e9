"""What stands in for bubblewrap where there are no namespaces: Landlock, and care for the scratch folder.

Standard library only: the zygote of python_repl takes this file along. Landlock, asked for by ctypes, says what this
process may read and write from now on, and all that it forks. Each call of `confine` adds a layer; what one layer forbids
no later one allows. The kernel says which version of Landlock it has; what an older one does not know it does not
forbid: TCP (before 6.7), abstract sockets and signals (before 6.12). The list of system calls forbids these in any case,
and what Landlock looks at late or never, such as the times of a file: see system_calls.py.
"""

import contextlib
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


def _call(libc: ctypes.CDLL, number: int, *arguments: int | bytes | None) -> int:
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(
        ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments)
    )
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return int(result)


# ---- the scratch folder, which no file system bounds ----------------------------------------------------------------


def removed(folder: str) -> bool:
    """Remove a folder with all that is in it; whether that went well."""
    try:
        empty(folder)
        os.rmdir(folder)
    except OSError:
        return False
    return True


def empty(folder: str) -> None:
    """Remove all that is in a folder, however deep it goes: one folder is open at a time, and no path grows."""
    here = os.open(folder, os.O_DIRECTORY)
    above: list[list[str]] = []
    try:
        folders = without_files(here)
        while folders or above:
            if folders:
                os.chmod(folders[-1], 0o700, dir_fd=here)  # it may have been made so that nobody can enter
                here = moved(here, folders[-1])
                above.append(folders)
                folders = without_files(here)
            else:
                here, folders = moved(here, ".."), above.pop()
                os.rmdir(folders.pop(), dir_fd=here)
    finally:
        os.close(here)


def without_files(here: int) -> list[str]:
    """The folders in an open folder; all else in it is removed."""
    with os.scandir(here) as entries:
        found = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    for name in (name for name, is_folder in found.items() if not is_folder):
        os.unlink(name, dir_fd=here)
    return [name for name, is_folder in found.items() if is_folder]


def moved(here: int, name: str) -> int:
    there = os.open(name, os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    os.close(here)
    return there


def overfull(folder: str, most_bytes: int, most_files: int) -> bool:
    """Whether a scratch folder holds more than it may, or what cannot be looked at."""
    size, count, waiting = 0, 1, [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                        size += 512 * entry.stat(follow_symlinks=False).st_blocks
                    if size > most_bytes or count > most_files:
                        return True
        except FileNotFoundError:
            pass
        except OSError:
            return True
    return False
