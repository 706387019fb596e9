"""What must hold of the look before a run: all that is missing at once, each with what to do, only of what will run; and
nothing heavy is imported for it."""

import json
import subprocess
import sys

import pytest

from helpers.command_line import ROOT, sparkctl
from helpers.judge_client import KEY, serving
from sparkctl.config.engines import Asked
from sparkctl.config.recipe import default_folder, load
from sparkctl.pipeline import plan, preflight
from sparkctl.stages.judge import Judge
from sparkctl.tools.python import sandbox
from sparkctl.tools.settings import Mcp, Tools

FEW = [f"--set={name}" for name in ("synth.limit=14", "eval.limit=14", "synth.steps=1", "eval.policies=['base']")]


def lacking(*args, data, **environment):
    """The lines that a run refuses to begin with."""
    done = sparkctl("run", "--data", data, *args, env={"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"} | environment)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert not (data / "store").exists()
    lines = done.stderr.splitlines()
    assert all(line.startswith("sparkctl: ") for line in lines), lines
    return [line.removeprefix("sparkctl: ") for line in lines]


def test_all_that_is_missing_is_said_at_once(tmp_path):
    wanted = (
        "synth.questions=nowhere.parquet",
        "tools.search.corpus=nothing.parquet",
        "judge.model=gpt-4o",
        "synth.policy=no/such-model",
        "tools.calculator={backend='mcp',mcp={command=['no-such-program'],tool='t'}}",
        "tools.wolfram_alpha.backend=live",
    )
    lines = lacking(*(f"--set={each}" for each in wanted), data=tmp_path / "data")
    for says in (
        "no file 'nowhere.parquet'; give",
        "tools.search.corpus: no file 'nothing.parquet'; give",
        "judge.model 'gpt-4o': set OPENAI_API_KEY in the environment",
        "synth.policy: 'no/such-model' is no folder and not in the cache of the hub, and HF_HUB_OFFLINE forbids to fetch it",
        "tools.calculator.mcp.command: no program 'no-such-program'; install it",
        "WOLFRAM_APP_ID",
    ):
        assert sum(says in line for line in lines) == 1, (says, lines)


def test_what_will_not_run_needs_nothing(tmp_path):
    data = tmp_path / "data"
    assert sparkctl("run", "--data", data, *FEW).returncode == 0
    again = sparkctl("run", "--data", data, *FEW)  # the same run, and nothing of it is to be made
    assert again.returncode == 0
    other = sparkctl("eval", "--data", data, *FEW, "--set", "judge.model=gpt-4o", env={"PATH": "/usr/bin:/bin"})
    assert other.returncode == 0, "evaluating the base needs no judge"


def test_nothing_heavy_is_imported_for_a_run_that_is_all_reused(tmp_path):
    data = tmp_path / "data"
    assert sparkctl("run", "--data", data, *FEW).returncode == 0
    program = (
        "import sys; sys.argv = sys.argv[1:]; from sparkctl.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('imported:', *{'torch', 'transformers', 'litellm', 'vllm', 'openai', 'peft'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", program, "sparkctl", "run", "--json", "--data", str(data), *FEW]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "imported:"


def test_a_data_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    found = preflight._writable(tmp_path / "file" / "data")
    assert found.works is False
    assert "cannot be written; choose another folder" in found.line
    assert preflight._writable(tmp_path / "new" / "data").works


def test_a_disk_that_is_nearly_full_is_said(tmp_path, monkeypatch):
    free = [0.5 * 2**30]
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda place: type("Usage", (), {"free": free[0]}))
    found = preflight._disk(tmp_path, [])
    assert (found.works, found.line) == (
        False,
        f"disk: 0.5 GiB free at {tmp_path}; a run wants 1; make room, or choose another --data",
    )
    free[0] = 1.5 * 2**30
    assert preflight._disk(tmp_path, []).works


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("gpt-4o", "OPENAI_API_KEY"),
        ("openai/gpt-4o", "OPENAI_API_KEY"),
        ("o3-mini", "OPENAI_API_KEY"),
        ("claude-sonnet-4", "ANTHROPIC_API_KEY"),
        ("anthropic/claude-x", "ANTHROPIC_API_KEY"),
        ("groq/llama", "GROQ_API_KEY"),
    ],
)
def test_a_judge_wants_its_provider_s_key(monkeypatch, model, key):
    monkeypatch.delenv(key, raising=False)
    assert preflight.judge(model).line == f"judge.model '{model}': set {key} in the environment"
    monkeypatch.setenv(key, KEY)
    found = preflight.judge(model)
    assert found.works is None
    assert KEY not in found.line


def test_a_judge_of_this_machine_is_knocked_at(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving() as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.environment["OPENAI_API_BASE"])
        assert preflight.judge("openai/mine").works is None
    assert "nothing listens at" in preflight.judge("openai/mine").line
    monkeypatch.setenv("OPENAI_API_BASE", "https://elsewhere.example/v1")
    assert preflight.judge("openai/mine").works is None, "what is elsewhere is not asked"


def test_a_policy_s_folder_must_be_whole(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    lacks = "synth.policy: '{}' is not whole, it lacks {}; fetch or copy it again"
    assert preflight.looked("policy", lambda: preflight._where(str(tmp_path), True)).line == lacks.format(
        tmp_path, "a tokenizer, weights"
    )
    (tmp_path / "tokenizer.json").write_text("{}")
    assert preflight._where(str(tmp_path), False) == f"{tmp_path}, a folder"  # a served one has its weights elsewhere
    (tmp_path / "model-1.safetensors").write_text("")
    (tmp_path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    )
    found = preflight.looked("policy", lambda: preflight._where(str(tmp_path), True))
    assert found.line == lacks.format(tmp_path, "model-2.safetensors")


def test_packages_are_those_of_what_runs(monkeypatch):
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    asked = Asked(policy="nano", engine="vllm")
    node = type("Node", (), {"settings": asked, "stage": type("Stage", (), {"name": "synth"}), "identities": {}})()
    assert preflight._packages([node]) == {"vllm"}
    assert "make vllm" in preflight.package("vllm", needed=True).line
    assert preflight.package("vllm", needed=False).works is None
    judged = type(
        "Node", (), {"settings": Judge(model="gpt-4o", prompt=""), "stage": type("Stage", (), {"name": "judge"})}
    )()
    assert preflight._packages([judged]) == {"litellm"}


def test_a_tool_s_server_wants_its_variables(monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    served = Mcp(command=(sys.executable,), tool="t", env=("MY_KEY",))
    with pytest.raises(Exception, match=r"tools\.search\.mcp\.env: set MY_KEY in the environment"):
        preflight._mcp("search", served)
    monkeypatch.setenv("MY_KEY", "x")
    assert preflight._mcp("search", served) == "mcp"


def test_a_weaker_sandbox_is_said_and_ends_nothing(monkeypatch):
    monkeypatch.setattr(sandbox, "found", lambda wanted: sandbox.Mode("off", ("bwrap: it is not there",)))
    tools = Tools(descriptions={})
    found = preflight.sandbox(tools)
    assert (found.works, found.loud) == (None, True)
    assert "python_repl is OFF on this machine" in found.line


def test_who_runs_a_model_s_python_says_a_weaker_sandbox_before(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "found", lambda wanted: sandbox.Mode("off", ("bwrap: it is not there",)))
    nodes = {node.name: node for node in plan.nodes(load(default_folder(), "nano", ()))}
    # The embedded judge runs it too.
    for name, runs_python in (("synth.1", False), ("judge.1", True), ("select.1", True)):
        said = []
        preflight.check([nodes[name]], Tools(descriptions={}), tmp_path, said.append)
        assert any("python_repl is OFF on this machine" in line for line in said) is runs_python, (name, said)


def test_doctor_says_what_a_run_would_say(tmp_path):
    set_ = ("--set", "tools.search.corpus=nothing.parquet")
    (line,) = lacking(*set_, data=tmp_path / "data")
    done = sparkctl("doctor", "--json", *set_, "--data", tmp_path / "data")
    assert done.returncode == 1
    assert [f["do"] for f in json.loads(done.stdout) if f["works"] is False] == [line]
