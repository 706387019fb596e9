"""What `make setup` does: a virtual environment with everything at pinned versions. Standard library only.

python set_up.py VENV [words for installing torch ...]

It may be interrupted and run again; what is installed stays. pip's own settings hold (a proxy, an index, a folder of wheels,
in its file or as PIP_... in the environment). Of torch the CPU build is taken where there is no GPU: on Linux the package
index gives a CUDA build of 3 GB to whoever asks without a word.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
LOCK = HERE / "requirements.lock"
_NETWORK = (
    "see pip's words above. Behind a proxy set HTTPS_PROXY, with an index of your own PIP_INDEX_URL, with a folder of wheels "
    "PIP_NO_INDEX=1 and PIP_FIND_LINKS=FOLDER; then run make again, what is installed stays"
)
_NO_VENV = (
    "this Python makes no virtual environment with pip in it; `apt install python3-venv` (Debian, Ubuntu), or, without root, "
    "`{python} -m pip install --user virtualenv`, then run make again"
)
_NVIDIA = "/proc/driver/nvidia/version"


class Stuck(Exception):
    """Something that the reader must do, in one line."""


def made(venv: Path) -> list[str]:
    """The words that run pip on the environment, which is made where it is not there. Raises Stuck."""
    python = venv / "bin" / "python"
    inside, outside = [str(python), "-m", "pip"], [sys.executable, "-m", "pip", "--python", str(python)]
    ways = (
        ([sys.executable, "-m", "venv", str(venv)], inside),
        ([sys.executable, "-m", "virtualenv", "--quiet", str(venv)], inside),
        # Debian without ensurepip: an environment without pip, which the system's pip can fill.
        ([sys.executable, "-m", "venv", "--without-pip", str(venv)], outside),
    )
    for make, pip in ways:
        if not _works(*pip, "--version"):
            _works(*make)
        if _works(*pip, "--version"):
            return pip
    raise Stuck(_NO_VENV.format(python=sys.executable))


def torch_words(pip: list[str], python: Path, pinned: str) -> list[str]:
    """The words that install torch: pip's, or those of uv where only that knows where the CPU build is."""
    if has_gpu() or sys.platform != "linux" or not brings_cuda(_asked_for(pip, pinned)):
        return [*pip, "install", pinned]
    if _works(*pip, "install", "--dry-run", "--no-deps", f"{pinned}+cpu"):
        return [*pip, "install", f"{pinned}+cpu"]  # an index or a folder that has both
    if _works(*pip, "install", "uv"):
        # It knows PyTorch's own indexes by name; pip would have to be told an address.
        return [str(python), "-m", "uv", "pip", "install", "--python", str(python), "--torch-backend", "cpu", pinned]
    return [*pip, "install", pinned]


def has_gpu() -> bool:
    """Whether a driver for NVIDIA's cards is loaded here."""
    return os.path.exists(_NVIDIA) or shutil.which("nvidia-smi") is not None


def brings_cuda(report: str) -> bool:
    """Whether what pip reports that it would install wants CUDA's libraries on a machine like this."""
    try:
        wanted = [word for each in json.loads(report)["install"] for word in each["metadata"].get("requires_dist", [])]
    except (ValueError, KeyError):
        return False  # an old pip makes no report; then torch is taken as it comes
    return any(
        word.startswith(("nvidia-", "cuda-")) and ("platform_machine" not in word or platform.machine() in word)
        for word in wanted
    )


def _asked_for(pip: list[str], pinned: str) -> str:
    words = [*pip, "install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed", "--report", "-", pinned]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def _works(*words: str) -> bool:
    try:
        return subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False  # there is no such program, as an environment's Python before it is made


def _install(words: list[str], what: str) -> None:
    print(f"installing {what} ...", file=sys.stderr, flush=True)
    if subprocess.run(words, check=False).returncode:
        raise Stuck(f"{what} could not be installed; {_NETWORK}")


def main() -> None:
    """Make the environment ready."""
    venv, flags = Path(sys.argv[1]), sys.argv[2:]
    pip = [*made(venv), "--quiet", "--disable-pip-version-check"]
    pinned = next(line for line in LOCK.read_text().splitlines() if line.startswith("torch=="))
    _install([*pip, "install", pinned, *flags] if flags else torch_words(pip, venv / "bin" / "python", pinned), "torch")
    _install([*pip, "install", "-r", str(LOCK)], "the other packages, some two minutes")
    _install([*pip, "install", "--no-deps", "--no-build-isolation", "--editable", str(HERE)], "sparkctl")


if __name__ == "__main__":
    try:
        main()
    except Stuck as fault:
        raise SystemExit(f"set_up: {fault}") from None
    except KeyboardInterrupt:
        raise SystemExit("set_up: interrupted; run make again, what is installed stays") from None
