"""A run whose tools live outside, through the command line: services on loopback, a real MCP server process."""

import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from helpers.tables_and_fakes import ROOT
from helpers.web_server import WebServer, says

pytestmark = pytest.mark.slow

SEARCHING = ("wikipedia", "search", "semantic_scholar")
PATHS = {"wikipedia": "/w/api.php", "search": "/search", "semantic_scholar": "/graph/v1/paper/search"}
SMALL = ["synth.limit=56", "eval.limit=14", "eval.policies=['base']", "synth.steps=1"]


@pytest.fixture
def web():
    server = WebServer()
    yield server
    server.close()


def outside(web):
    """Settings that put four tools outside."""
    address = f"http://127.0.0.1:{web.server_port}"
    bases = {"wikipedia": f"{address}/w", "search": address, "semantic_scholar": f"{address}/graph/v1"}
    live = [
        s
        for n in SEARCHING
        for s in (f"tools.{n}.backend=live", f"tools.{n}.url={bases[n]}", f"tools.{n}.min_interval_s=0")
    ]
    command = json.dumps([sys.executable, str(ROOT / "tests" / "helpers/mcp_server.py")])
    mcp = ["backend=mcp", f"mcp.command={command}", "mcp.tool=shout", "mcp.argument=text"]
    return [*live, *(f"tools.static_kb.{setting}" for setting in mcp)]


def run(data, sets, *command):
    words = [word for setting in [*SMALL, *sets] for word in ("--set", setting)]
    command = [sys.executable, "-m", "sparkctl", *(command or ["run"]), "--data", str(data), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    return pq.read_table(data / "default" / "steps.1.parquet").to_pylist(), done.stderr


def test_what_services_and_an_mcp_server_say_is_observed_once_and_remembered(web, tmp_path):
    steps, _ = run(tmp_path, outside(web))
    seen = {name: [s for s in steps if s["tool_name"] == name] for name in (*SEARCHING, "static_kb")}
    assert all(seen.values()), {name: len(found) for name, found in seen.items()}
    for step in seen["static_kb"]:
        assert step["observation"] == f"{step['action_query'].upper()}!"
    for name in SEARCHING:
        assert all(step["observation_ok"] for step in seen[name])
        assert all("\n" not in step["observation"] for step in seen[name])
        asked = [s.parameters for s in web.seen if s.path == PATHS[name]]
        assert 0 < len({json.dumps(a, sort_keys=True) for a in asked}) == len(asked)
    before = len(web.seen)
    again, _ = run(tmp_path, [*outside(web), "select.threshold=5.5"])
    assert len(again) == len(steps)
    calls = {json.dumps(s.parameters, sort_keys=True) for s in web.seen[:before]}
    assert all(json.dumps(s.parameters, sort_keys=True) not in calls for s in web.seen[before:])


def test_a_service_that_is_down_gives_rows_with_errors_that_are_asked_again_on_request(web, tmp_path):
    web.always = says("gone", status=404)
    sets = [f"tools.wikipedia.{s}" for s in ("backend=live", f"url={web.url}/w", "min_interval_s=0")]
    steps, said = run(tmp_path, sets)
    down = [s for s in steps if s["tool_name"] == "wikipedia"]
    assert down
    for step in down:
        assert (step["observation_ok"], step["error"] is not None) == (False, True)
        assert "wikipedia" in step["error"]
    assert f"{len(down)}" in said
    assert "came to nothing" in said
    web.always = None
    assert run(tmp_path, sets)[0] == steps
    steps, _ = run(tmp_path, sets, "select", "--retry-failed")
    assert all(s["observation_ok"] for s in steps if s["tool_name"] == "wikipedia")
