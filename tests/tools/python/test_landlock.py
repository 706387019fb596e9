"""What must hold of the mode landlock: which rights each version of Landlock is asked for, what its layers refuse without
the list of system calls, and that a scratch folder is bounded and removed whatever is in it."""

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from sparkctl.tools.python import landlock, walls
from sparkctl.tools.python.sandbox import missing


class Kernel:
    """A C library whose kernel has this version of Landlock; it notes what it is asked."""

    def __init__(self, version: int) -> None:
        self.version, self.rulesets, self.rules, self.enforced = version, [], [], 0
        self.syscall = lambda number, *args: self._called(number.value, args)
        self.syscall.restype = None

    def _called(self, number, args):
        if number == 444 and args[2].value == 1:
            return self.version
        if number == 444:
            size = args[1].value
            self.rulesets.append(struct.unpack(f"{size // 8}Q", ctypes.string_at(args[0], size)))
            return os.open(os.devnull, os.O_RDONLY)
        if number == 445:
            rights, place = struct.unpack("=Qi", ctypes.string_at(args[2], 12))
            self.rules.append((os.readlink(f"/proc/self/fd/{place}"), rights))
        self.enforced += number == 446
        return 0

    def prctl(self, *args):
        return int(args[:2] != (38, 1))


# Written out: the rights of version 1 are bits 0 to 12, then refer (13), truncate (14), ioctl on devices (15).
@pytest.mark.parametrize(
    ("version", "files", "rest"),
    [
        (1, 0x1FFF, ()),
        (2, 0x3FFF, ()),
        (3, 0x7FFF, ()),
        (4, 0x7FFF, (3,)),
        (5, 0xFFFF, (3,)),
        (6, 0xFFFF, (3, 3)),
        (7, 0xFFFF, (3, 3)),
        (99, 0xFFFF, (3, 3)),
    ],
)
def test_a_version_is_asked_for_all_that_it_knows_and_no_more(tmp_path, version, files, rest):
    kernel = Kernel(version)
    read, listed, gone = tmp_path / "read", tmp_path / "list", tmp_path / "gone"
    read.write_text("")
    listed.mkdir()
    landlock.first_layer(kernel, {str(read): "read", str(listed): "list", str(gone): "read"}, str(tmp_path))
    assert kernel.rulesets == [(files, *rest)]
    assert kernel.enforced == 1
    scratch = 0b1_1011_1110 & files | files & 0b110_0000_0000_0000  # no device, socket, link or program of one's own
    assert dict(kernel.rules) == {str(read): 0b100, str(listed): 0b1000, str(tmp_path): scratch, "/dev/null": 0b110}


def test_the_second_layer_takes_away_every_right_to_change(tmp_path):
    kernel = Kernel(7)
    landlock.second_layer(kernel, str(tmp_path))
    # Without executing (0), reading files (2) and folders (3), and ioctl on devices (15): the first layer sees to these.
    assert kernel.rulesets == [(0x7FF2, 3, 3)]
    assert [path for path, _ in kernel.rules] == [str(tmp_path), "/dev/null"]


def test_a_kernel_without_landlock_is_an_error(tmp_path):
    kernel = Kernel(-1)
    with pytest.raises(OSError, match="Landlock"):
        landlock.first_layer(kernel, {}, str(tmp_path))


# ---- the layers alone, on this kernel --------------------------------------------------------------------------------

ALONE = """
import ctypes, json, os, signal, socket, sys
sys.path.insert(0, sys.argv[1])
import landlock
readable, folder, file, port, abstract, parent = json.loads(sys.argv[2])
os.makedirs(folder + "/scratch")
os.chdir(folder + "/scratch")
libc = ctypes.CDLL(None, use_errno=True)
landlock.first_layer(libc, readable, folder)
open(folder + "/beside", "w").close()
landlock.second_layer(libc, folder + "/scratch")
def refused(what):
    try:
        what()
        return False
    except PermissionError:
        return True
def written():
    with open("mine", "w") as out:
        return out.write("x")
def connect(family, address):
    socket.socket(family).connect(address)
version = landlock.version(libc)
print(json.dumps({
    "may": [written(), os.listdir("."), len(open(os.__file__).read()) > 0, open("/dev/null").read()],
    "read a file": refused(lambda: open(file)),
    "write a file": refused(lambda: open(file, "a")),
    "remove a file": refused(lambda: os.unlink(file)),
    "write the library": refused(lambda: open(os.__file__, "a")),
    "remove the library": refused(lambda: os.unlink(os.__file__)),
    "make a file beside": refused(lambda: open("../left", "w")),
    "write a file beside": refused(lambda: open("../beside", "w")),
    "make a folder beside": refused(lambda: os.mkdir("../left")),
    "list a folder": refused(lambda: os.listdir("/etc")),
    "environment": refused(lambda: open(f"/proc/{parent}/environ")),
    "own status": refused(lambda: open("/proc/self/status")),
    "link": refused(lambda: os.symlink(file, "link")),
    "socket with a name": refused(lambda: socket.socket(socket.AF_UNIX).bind("here")),
    "run": refused(lambda: os.execv(sys.executable, ["python3"])),
    "empty by name": version < 3 or refused(lambda: os.truncate(file, 0)),
    "tcp": version < 4 or refused(lambda: connect(socket.AF_INET, ("127.0.0.1", port))),
    "abstract": version < 6 or refused(lambda: connect(socket.AF_UNIX, abstract)),
    "signal": version < 6 or refused(lambda: os.kill(parent, signal.SIGTERM)),
}))
"""


@pytest.mark.skipif(bool(missing("landlock")), reason=str(missing("landlock")))
def test_landlock_holds_without_the_list_of_system_calls(tmp_path):
    file, folder = tmp_path / "secret", tmp_path / "folder"
    file.write_text("secret")
    abstract = f"\0sparkctl-landlock-{os.getpid()}"
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        unix.bind(abstract)
        unix.listen()
        asked = [walls.readable(), str(folder), str(file), tcp.getsockname()[1], abstract, os.getpid()]
        modules = str(Path(landlock.__file__).parent)
        command = [walls.interpreter(), *walls.FLAGS, "-c", ALONE, modules, json.dumps(asked)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    seen = json.loads(done.stdout)
    assert seen.pop("may") == [1, ["mine"], True, ""]
    assert seen == dict.fromkeys(seen, True)
    assert file.read_text() == "secret"


def test_what_may_be_read_is_what_bubblewrap_shows():
    """File by file: the interpreter is running already, the standard library goes entry by entry."""
    readable, shown = walls.readable(), walls._visible()
    home = os.path.dirname(os.__file__)
    assert readable[home] == "list"
    assert not any(Path(path).name in ("site-packages", "dist-packages") for path in readable)
    others = {path for path in readable if os.path.dirname(path) != home and path != home}
    assert others == {*shown} - {home, os.path.realpath(sys.executable)} | {"/etc/ld.so.cache"}


# ---- the scratch folder ----------------------------------------------------------------------------------------------


def test_whatever_is_in_it_a_folder_is_removed(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    here = os.getcwd()
    os.chdir(folder)
    try:
        for _ in range(1500):  # deeper than Python recurses, and longer than a path may be
            os.mkdir("deep")
            Path("file").write_text("x")
            os.chdir("deep")
    finally:
        os.chdir(here)
    (folder / "shut").mkdir(mode=0)
    (folder / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    assert landlock.removed(str(folder))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "kept"]
    assert not landlock.removed(str(folder)), "it is gone already"


@pytest.mark.parametrize(
    ("files", "size", "full"), [(0, 0, False), (9, 4096, False), (10, 1, True), (1, 2**17, True), (5, 2**15, True)]
)
def test_a_folder_is_full_by_its_bytes_or_its_files(tmp_path, files, size, full):
    """At most 64 KiB and 10 files, the folder itself among them; what files take on disk counts, not how long they say."""
    if files > 5:
        (tmp_path / "sub").mkdir()
    for i in range(files - (files > 5)):
        folder = tmp_path / "sub" if files > 5 and i % 2 else tmp_path
        (folder / f"{i}").write_bytes(b"x" * size)
    if files == 9:
        os.truncate(tmp_path / "0", 2**30)
    assert landlock.overfull(str(tmp_path), 2**16, 10) is full


def test_what_cannot_be_looked_at_is_full(tmp_path):
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(20):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
    finally:
        os.chdir(here)
    assert landlock.overfull(str(tmp_path), 2**40, 10**6)
    assert landlock.removed(str(tmp_path))
