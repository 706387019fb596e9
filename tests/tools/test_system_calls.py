"""The list of system calls as the kernel reads it: the program is run here, step by step, over calls that it may meet."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkctl.tools import system_calls

KILL, REFUSE, PASS = 0x80000000, 0x00050000 | errno.EACCES, 0x7FFF0000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386, X32 = 0x40000003, 0x40000000
MACHINES = pytest.mark.parametrize("machine", ARCHITECTURES)


def run(program: bytes, number: int, arguments=(0,) * 6, architecture: int = ARCHITECTURES["x86_64"]) -> int:
    """What the kernel would do with this call (seccomp's classic BPF: the six kinds of step that we use)."""
    data = struct.pack("IIQ6Q", number, architecture, 0, *arguments)
    steps = list(struct.iter_unpack("HBBI", program))
    place, held = 0, 0
    while True:
        code, if_true, if_false, k = steps[place]
        place += 1
        if code == 0x20:
            (held,) = struct.unpack_from("I", data, k)
        elif code == 0x54:
            held &= k
        elif code == 0x15:
            place += if_true if held == k else if_false
        elif code == 0x05:
            place += k
        elif code == 0x06:
            return k
        else:
            raise AssertionError(f"step {code:#x} is none of ours")


def listed(machine: str, name: str, arguments) -> int:
    """What the list says of a call."""
    when = system_calls.passing().get(name, "not on it")
    if when == "not on it":
        return REFUSE
    return PASS if when is None or arguments[when.argument] & when.mask in when.values else REFUSE


VALUES = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 7, 8, 1030, 0x5401, 2**32, 2**32 + 1, 2**63]))


@MACHINES
@given(number=st.integers(0, 600), arguments=st.tuples(*[VALUES] * 6))
def test_the_program_says_what_the_list_says(machine, number, arguments):
    names = {number: name for name, number in system_calls.numbers(machine).items()}
    wanted = listed(machine, names.get(number, "?"), arguments)
    assert run(system_calls.program(machine), number, arguments, ARCHITECTURES[machine]) == wanted


@MACHINES
def test_each_call_of_the_list_passes_or_asks_for_an_argument(machine):
    program = system_calls.program(machine)
    for name, number in system_calls.numbers(machine).items():
        when = system_calls.passing()[name]
        for value in (0,) if when is None else when.values:
            arguments = [0] * 6
            if when is not None:
                arguments[when.argument] = value
            assert run(program, number, arguments, ARCHITECTURES[machine]) == PASS, name


@pytest.mark.parametrize(
    ("name", "number", "arguments"),
    [
        ("fork", 57, (0,) * 6),
        ("clone", 56, (0,) * 6),
        ("clone3", 435, (0,) * 6),
        ("execve", 59, (0,) * 6),
        ("kill", 62, (0,) * 6),
        ("socket", 41, (1, 1, 0, 0, 0, 0)),
        ("ptrace", 101, (0,) * 6),
        ("mount", 165, (0,) * 6),
        ("process_vm_readv", 310, (0,) * 6),
        ("fcntl F_SETOWN", 72, (0, 8, 0, 0, 0, 0)),
        ("ioctl TIOCSTI", 16, (0, 0x5412, 0, 0, 0, 0)),
        ("prlimit of another", 302, (1, 0, 0, 0, 0, 0)),
        ("socketpair of AF_INET", 53, (2, 0, 0, 0, 0, 0)),
        ("an argument whose upper half is set", 302, (2**32, 0, 0, 0, 0, 0)),
        ("read by its x32 number", X32 | 0, (0,) * 6),
    ],
)
def test_what_is_not_on_the_list_is_refused(name, number, arguments):
    assert run(system_calls.program("x86_64"), number, arguments) == REFUSE


@MACHINES
def test_a_call_of_another_architecture_ends_the_process(machine):
    assert run(system_calls.program(machine), 1, architecture=I386) == KILL
