"""What must hold of the choice of a sandbox: the strongest that works, found by trying; its name in keys and scopes; where
there is none the tool is off and the run goes on, loudly. Kernels that refuse are made by helpers/forbidding.py, for real."""

import html
import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.command_line import refused, sparkctl
from sparkctl.config.recipe import default_folder, load
from sparkctl.config.settings import checked
from sparkctl.errors import SparkError
from sparkctl.pipeline.ports import tools as tool_ports
from sparkctl.storage.memory import Memory
from sparkctl.tools.python import sandbox, walls, zygotes
from sparkctl.tools.settings import Python, Tools

FORBIDDING = str(Path(__file__).parents[2] / "helpers" / "forbidding.py")
HERE = pytest.mark.skipif(bool(sandbox.missing("bwrap")), reason=f"no bubblewrap: {sandbox.missing('bwrap')}")
LANDLOCKED = pytest.mark.skipif(bool(sandbox.missing("landlock")), reason=f"no Landlock: {sandbox.missing('landlock')}")
SITUATIONS = pytest.mark.parametrize(
    ("forbidden", "mode"),
    [
        pytest.param("nothing", "bwrap", marks=HERE),
        pytest.param("namespaces", "landlock", marks=LANDLOCKED),
        ("namespaces,landlock", "off"),
    ],
)


def forbidden_to(forbidden, *command, **how):
    return subprocess.run(
        [sys.executable, FORBIDDING, forbidden, sys.executable, *command], capture_output=True, text=True, **how
    )


def with_mode(monkeypatch, *working):
    """As on a machine where only these modes work."""
    monkeypatch.setattr(sandbox, "missing", lambda mode: None if mode in working else "the kernel says no")
    sandbox._strongest.cache_clear()
    monkeypatch.context()


@pytest.fixture(autouse=True)
def looked_anew():
    sandbox._strongest.cache_clear()
    yield
    sandbox._strongest.cache_clear()


@SITUATIONS
def test_the_strongest_that_the_kernel_lets_us_have_is_found(forbidden, mode):
    program = (
        "from sparkctl.tools.python import sandbox; m = sandbox.found(); print(m.name, len(m.lacking), m.warning or '')"
    )
    name, lacking, warning = forbidden_to(forbidden, "-c", program, check=True).stdout.strip("\n").split(" ", 2)
    assert (name, int(lacking)) == (mode, {"bwrap": 0, "landlock": 1, "off": 2}[mode])
    assert bool(warning) == (mode != "bwrap")
    assert "\n" not in warning
    if mode != "bwrap":
        assert "user namespaces" in warning


@pytest.mark.parametrize(
    ("working", "mode"),
    [(("bwrap", "landlock"), "bwrap"), (("bwrap",), "bwrap"), (("landlock",), "landlock"), ((), "off")],
)
def test_the_stronger_comes_first_and_none_is_never_taken(monkeypatch, working, mode):
    with_mode(monkeypatch, *working, "none")
    assert sandbox.found("auto").name == mode


def test_a_mode_that_is_named_and_does_not_work_is_an_error(monkeypatch, tmp_path):
    with_mode(monkeypatch)
    with pytest.raises(SparkError, match="sandbox 'landlock' cannot be used here: the kernel says no"):
        sandbox.found("landlock")
    run = ("run", "--data", tmp_path / "data", "--set", "tools.python_repl.sandbox=bwrap")
    refused(sparkctl(*run), "tools.python_repl.sandbox 'bwrap' cannot be used here: the kernel says no")


@HERE
def test_walls_that_do_not_hold_are_found_out_before_any_code_runs(monkeypatch):
    """A list of system calls that lets everything pass: one step, RET ALLOW."""
    monkeypatch.setattr(walls, "inner", lambda mode: bytes([6, 0, 0, 0, 0, 0, 0xFF, 0x7F]))
    with pytest.raises(walls.NoSandbox, match="does not start"):
        zygotes.start("bwrap", sandbox.LIMITS, packages=False)


# ---- keys ------------------------------------------------------------------------------------------------------------


def test_the_mode_is_part_of_the_key_and_that_of_old_runs_stands(monkeypatch):
    with_mode(monkeypatch, "bwrap", "landlock")
    before = {"backend": "offline", "sandbox": "bwrap", "cpu_s": 2, "wall_s": None, "memory_mb": 512}
    assert Python().identity() == before
    with_mode(monkeypatch, "landlock")
    assert Python().identity() == before | {"sandbox": "landlock"}
    with_mode(monkeypatch)
    assert Python().identity() == Python(cpu_s=9).identity() == {"backend": "offline", "sandbox": "off"}
    assert Python(sandbox="none").identity() == before | {"sandbox": "none"}
    assert Python(backend="replay").identity() == {"backend": "replay"}


def tools_here():
    return checked(Tools, load(default_folder(), "nano", ())["tools"], "tools")


def test_what_a_weaker_machine_remembered_does_not_answer_a_stronger_one(monkeypatch, tmp_path):
    memory, seen = Memory(tmp_path / "memory.sqlite"), set()
    for working in (("bwrap",), ("landlock",), ()):
        with_mode(monkeypatch, *working)
        known = tool_ports._scope("python_repl", tools_here(), memory), tool_ports.embedded_scope(tools_here())
        seen |= set(known)
    assert len(seen) == 6


# ---- off -------------------------------------------------------------------------------------------------------------


def test_where_it_is_off_the_policy_reads_so_and_nothing_is_remembered(monkeypatch, tmp_path):
    with_mode(monkeypatch)
    memory = Memory(tmp_path / "memory.sqlite")
    port = tool_ports.tools_port(tools_here(), memory, lambda *a, **k: None)
    asked = [{"tool_name": "python_repl", "query": "1 + 1"}, {"tool_name": "calculator", "query": "1 + 1"}]
    refusal, sum_of_two = port(asked)
    assert refusal.body == {"text": "error: python_repl cannot be used on this machine", "ok": False}
    assert refusal.error is None
    assert sum_of_two.body["text"] == "2"
    assert tool_ports.Recordings(memory).recall("python_repl", ["1 + 1"]) == {}


@pytest.mark.slow
@SITUATIONS
def test_a_run_goes_on_with_what_there_is_and_says_so(tmp_path, forbidden, mode):
    few = [f"--set={name}" for name in ("synth.limit=28", "eval.limit=28", "synth.steps=2", "eval.policies=['base']")]
    command = ["-m", "sparkctl", "run", "--json", "--data", str(tmp_path), *few]
    done = forbidden_to(forbidden, *command, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["policies"]["base"]["n"] == 28
    first = done.stderr.splitlines()[0]
    assert ("python_repl" in first) == (mode != "bwrap")
    said = {"bwrap": "", "landlock": "weaker sandbox 'landlock'", "off": "python_repl is OFF on this machine"}[mode]
    assert said in first
    report = html.unescape((tmp_path / "default" / "report.html").read_text())
    assert ("python_repl ran in the weaker" in report, "python_repl is OFF" in report) == (
        mode == "landlock",
        mode == "off",
    )


def test_bubblewrap_that_works_by_itself_works_as_our_sandbox():
    """Or a fault in our walls would pass for a machine that forbids them, and what tests them would be skipped."""
    bare = ["--unshare-all", "--unshare-user", "--ro-bind", "/", "/", "true"]
    if not any(subprocess.run([bwrap, *bare], capture_output=True).returncode == 0 for bwrap in walls.bwraps()):
        pytest.skip("no bubblewrap works here")
    assert sandbox.missing("bwrap") is None
