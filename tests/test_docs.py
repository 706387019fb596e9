"""The README speaks the truth: its commands exist, its options are known, its tables are the contract's."""

import itertools
import re
import shlex
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.command_line import sparkctl
from helpers.tables_and_fakes import ROOT
from sparkctl.config import recipe
from sparkctl.pipeline import plan

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
SPARKCTL = [line for line in LINES if line.startswith("sparkctl ")]
MAKE = sorted(set(re.findall(r"make ([a-z]+)(?=[`\s])", README)))


def test_the_readme_has_commands_to_check():
    assert "@" not in re.sub(r"`[^`]*`", "", README), "a place-holder was left"
    assert len(SPARKCTL) >= 10
    assert {"demo", "test", "check", "mutants", "nano"} <= set(MAKE)


@pytest.mark.parametrize("target", MAKE)
def test_every_make_target_in_the_readme_exists(target):
    done = subprocess.run(["make", "-n", target, "VENV=/nowhere"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_make_help_lists_what_there_is():
    listed = subprocess.run(["make", "help"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert all(name in listed for name in ("demo", "test", "check", "mutants", "nano", "synth judge select train eval"))


@pytest.mark.parametrize("line", SPARKCTL)
def test_every_command_in_the_readme_is_understood(line, tmp_path, monkeypatch):
    """Its command exists and knows its options; `--help` at the end stops it before it runs."""
    words = shlex.split(re.sub(r"\$\([^)]*\)", "x", line))[1:]
    done = sparkctl(*words, "--help")
    assert done.returncode == 0, done.stderr
    lay_articles(tmp_path)
    monkeypatch.chdir(tmp_path)
    settings = tuple(w for a, w in itertools.pairwise(words) if a == "--set")
    if not any(word in line for word in ELSEWHERE[:1]):
        overridden = recipe.load(ROOT / "stages", overrides=settings)
        plan.nodes(overridden | {"synth": overridden["synth"] | {"questions": "nano"}})


ELSEWHERE = (
    "mmlu_pro",
    "scores.parquet",
    "budget_usd",
    "--profile paper",
    "engine=litellm",
    "engine=vllm",
    "backend=live",
    "my/adapter",
)
"""In lines that need a key, a network, a server or a file of yours."""


def lay_articles(folder):
    """A corpus as a reader would have one."""
    rows = {"title": ["Norland"], "text": ["The capital of Norland is far in the north."]}
    pq.write_table(pa.table(rows), folder / "articles.parquet")


@pytest.mark.slow
def test_the_commands_of_the_readme_run_on_a_small_run(tmp_path):
    """In their order, on a small experiment in a folder of its own; those that need a key or a file of yours are not."""
    stages = tmp_path / "stages"
    stages.mkdir()
    for path in (ROOT / "stages").iterdir():
        text = (
            path.read_text()
            .replace("limit = 420", "limit = 28")
            .replace("limit = 700", "limit = 28")
            .replace("epochs = 3", "epochs = 1")
        )
        (stages / path.name).write_text(text)
    lay_articles(tmp_path)
    ran = 0
    for line in SPARKCTL:
        if any(word in line for word in ELSEWHERE):
            continue
        done = subprocess.run([sys.executable, "-m", *shlex.split(line)], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, (line, done.stderr)
        ran += 1
    assert ran >= 9


def test_the_tree_in_the_readme_names_real_files():
    tree = README.split("## What is where")[1].split("```")[1]
    for name in re.findall(r"^ {0,2}((?:[\w*]+(?:\.py|/)\s?)+)", tree, re.MULTILINE):
        for part in name.split():
            assert (ROOT / part).exists() or (ROOT / "src" / "sparkctl" / part).exists(), part


def test_no_path_of_a_machine_and_no_registry_stands_in_the_project():
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a git checkout")
    private = "|".join(["/wor" + "k/", "/ro" + "ot/", "py" + "pi[.]org", "python" + "hosted"]).encode()
    wrong = [name for name in listed.stdout.split() if re.search(private, (ROOT / name).read_bytes())]
    assert wrong == []
