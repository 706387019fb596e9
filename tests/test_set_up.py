"""What must hold of `make setup`: it finds a way to a virtual environment, or says what to do; torch is the CPU build where
there is no GPU."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.command_line import ROOT

sys.path.insert(0, str(ROOT))
import set_up

PINNED, PYTHON = "torch==2.13.0", Path("venv/bin/python")
PIP = ["pip"]
CUDA = {"install": [{"metadata": {"requires_dist": ["filelock", "nvidia-cublas==13; platform_system == 'Linux'"]}}]}
PLAIN = {"install": [{"metadata": {"requires_dist": ["filelock", "sympy>=1.13"]}}]}
UV = [str(PYTHON), "-m", "uv", "pip", "install", "--python", str(PYTHON), "--torch-backend", "cpu", PINNED]


@pytest.mark.parametrize(
    ("gpu", "report", "there", "words"),
    [
        (True, CUDA, "", [*PIP, "install", PINNED]),  # with a GPU the index's own build, which is that for CUDA
        (False, PLAIN, "", [*PIP, "install", PINNED]),  # the index gives a CPU build by itself
        (False, CUDA, "+cpu", [*PIP, "install", f"{PINNED}+cpu"]),
        (False, CUDA, "uv", UV),
        (False, CUDA, "", [*PIP, "install", PINNED]),  # better a large one than none
        (False, None, "", [*PIP, "install", PINNED]),  # an old pip reports nothing
    ],
)
def test_without_a_gpu_torch_is_the_cpu_build(monkeypatch, gpu, report, there, words):
    monkeypatch.setattr(set_up, "has_gpu", lambda: gpu)
    monkeypatch.setattr(set_up, "_asked_for", lambda pip, pinned: json.dumps(report) if report else "")
    monkeypatch.setattr(set_up, "_works", lambda *words: bool(there) and words[-1].endswith(there))
    assert set_up.torch_words(PIP, PYTHON, PINNED) == words


def test_what_is_for_another_machine_is_no_cuda_here():
    wanted = "nvidia-cublas==13; platform_machine == '{}'"
    report = {"install": [{"metadata": {"requires_dist": [wanted.format("riscv64")]}}]}
    assert not set_up.brings_cuda(json.dumps(report))
    report["install"][0]["metadata"]["requires_dist"] = [wanted.format(platform.machine())]
    assert set_up.brings_cuda(json.dumps(report))


def test_without_ensurepip_the_system_s_pip_fills_the_environment(monkeypatch, tmp_path):
    works = set_up._works

    def as_on_debian(*words):
        makes = words[2] in ("venv", "virtualenv")
        return works(*words) if not makes or "--without-pip" in words else False

    monkeypatch.setattr(set_up, "_works", as_on_debian)
    pip = set_up.made(tmp_path / "venv")
    assert "--python" in pip
    assert subprocess.run([*pip, "--version"], check=False, capture_output=True).returncode == 0


def test_without_any_way_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(set_up, "_works", lambda *words: False)
    with pytest.raises(set_up.Stuck, match="apt install python3-venv"):
        set_up.made(tmp_path)


@pytest.mark.slow
def test_what_cannot_be_installed_is_said_in_one_line_and_nothing_is_broken(tmp_path):
    """A folder of wheels that is empty, and no index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    told = {"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "set_up.py"), str(tmp_path / "venv")],
        capture_output=True,
        text=True,
        env=told,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("set_up: torch could not be installed; see pip's words above.")
    assert "Traceback" not in done.stderr
