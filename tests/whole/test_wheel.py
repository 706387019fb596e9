"""What must hold of the wheel: it brings recipes and the embedded policy, and works far from any checkout."""

import subprocess
import sys
import sysconfig
import tarfile

import pytest

from helpers.tables_and_fakes import ROOT

pytestmark = pytest.mark.slow
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from what git knows, so that nothing lying about in the checkout can stand in for what was left out."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(folder / "tracked.tar", "w") as tar:
        for name in called("git", "ls-files", "-z", cwd=ROOT).split("\0")[:-1]:
            tar.add(ROOT / name, name)
    with tarfile.open(folder / "tracked.tar") as tar:
        tar.extractall(folder / "source", filter="data")
    called(*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source", cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def called(*command, cwd):
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The command in an environment of its own; the libraries are those of this one."""
    home = tmp_path_factory.mktemp("environment")
    called(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    called(*PIP, "--python", home / "bin" / "python", "install", "--no-deps", "--no-index", wheel, cwd=home)
    return home / "bin" / "sparkctl"


@pytest.mark.parametrize("profile", ["nano", "paper"])
def test_every_profile_can_be_planned(installed, tmp_path, profile):
    """Of the paper's profile the questions are on the hub, which nobody can reach here: a file stands in for them."""
    source = [] if profile == "nano" else ["--set", "synth.questions=nano"]
    planned = called(installed, "plan", "--profile", profile, *source, cwd=tmp_path)
    assert "eval spark: after train.spark" in planned
    assert list(tmp_path.iterdir()) == []


def test_a_stage_runs_on_the_embedded_policy(installed, tmp_path):
    said = called(installed, "eval", "--policy", "base", "--set", "eval.limit=14", "--json", cwd=tmp_path)
    assert '"n": 14' in said
    assert (tmp_path / "data" / "default" / "answers.base.parquet").is_file()


def test_what_is_installed_in_a_folder_finds_its_recipes(wheel, tmp_path):
    called(*PIP, "install", "--no-deps", "--no-index", "--target", tmp_path / "there", wheel, cwd=tmp_path)
    asked = (
        "import sys; sys.path.insert(0, 'there'); from sparkctl.config import recipe; print(recipe.default_folder())"
    )
    assert called(sys.executable, "-c", asked, cwd=tmp_path).strip() == str(tmp_path / "there/share/sparkctl/stages")
