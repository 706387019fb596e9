"""Runs a command as on a kernel that refuses some of what a sandbox is made of: python forbidding.py WHAT,... COMMAND...

`namespaces`: user namespaces, as in many containers; `landlock`: as in kernels without it. A filter of system calls that
the command and all below inherit answers EPERM; x86-64 and aarch64.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

NEW_USER = 0x10000000
NUMBERS = {
    "x86_64": {"unshare": 272, "clone": 56, "clone3": 435},
    "aarch64": {"unshare": 97, "clone": 220, "clone3": 435},
}
LANDLOCK = 444
ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
LOAD, EQUAL, HAS_BITS, RETURN = 0x20, 0x15, 0x45, 0x06


def program(what: list[str]) -> bytes:
    """The filter; its flags come first among the arguments of `unshare` and of `clone`."""
    numbers, steps = NUMBERS[platform.machine()], [(LOAD, 0, 0, 0)]
    if "namespaces" in what:
        # clone3 keeps its flags in memory, where no filter looks: C libraries do without it where it is missing.
        steps += [(EQUAL, 0, 1, numbers["clone3"]), (RETURN, 0, 0, ENOSYS)]
        for name in ("unshare", "clone"):
            steps += [(EQUAL, 0, 4, numbers[name]), (LOAD, 0, 0, 16), (HAS_BITS, 0, 1, NEW_USER), (RETURN, 0, 0, EPERM)]
            steps += [(RETURN, 0, 0, ALLOW)]
    if "landlock" in what:
        steps += [(EQUAL, 0, 1, LANDLOCK), (RETURN, 0, 0, EPERM)]
    return b"".join(struct.pack("HBBI", *step) for step in [*steps, (RETURN, 0, 0, ALLOW)])


def main() -> None:
    """Put the filter on, and become the command."""
    steps = program(sys.argv[1].split(","))
    held = ctypes.create_string_buffer(steps, len(steps))
    libc = ctypes.CDLL(None, use_errno=True)
    told = struct.pack("HP", len(steps) // 8, ctypes.addressof(held))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_char_p(told), 0, 0):
        raise OSError(ctypes.get_errno(), "the filter cannot be put on")
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
