"""What must hold of MCP tools: real servers, written with the SDK, over stdio and over HTTP; whatever they do, a call ends,
and no process is left."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers.tables_and_fakes import ROOT
from helpers.web_server import WebServer, redirect
from sparkctl.errors import SparkError
from sparkctl.tools import mcp_server
from sparkctl.tools.mcp_server import MAX_CHARACTERS, open_mcp
from sparkctl.tools.observation import Observation, ToolFailed

SERVER = str(ROOT / "tests" / "helpers/mcp_server.py")


@dataclass(frozen=True)
class Table:
    """A tool's table in tools.toml."""

    tool: str
    command: tuple[str, ...] | None = (sys.executable, SERVER)
    url: str | None = None
    argument: str = "text"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    env: tuple[str, ...] = ()


@pytest.fixture
def opened():
    """`opened(tool)`: that tool of the server."""
    tools = []

    def open_tool(tool, timeout_s=10.0, **table):
        tools.append(open_mcp(Table(tool, **table), timeout_s=timeout_s))
        return tools[-1]

    yield open_tool
    for tool in tools:
        tool.close()
    assert children() == []


def children():
    """Processes of ours that run the server over stdio."""
    found = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
    return [p.pid for p in found if SERVER in " ".join(p.cmdline()) and "http" not in p.cmdline()]


@contextmanager
def serving(*port):
    """(the address of a server over HTTP, its process)."""
    command = [sys.executable, SERVER, "http", *port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/mcp", process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address():
    with serving() as (address, _):
        yield address


@pytest.fixture
def over_http(opened, address):
    """`over_http(tool)`: that tool of a server over HTTP."""
    return lambda tool, **table: opened(tool, command=None, url=address, **table)


def test_a_tool_of_a_process_is_called_with_the_query(opened):
    tool = opened("shout", arguments={"mark": "?"})
    assert tool("grüße 数学") == Observation("GRÜSSE 数学?")
    assert tool("") == Observation("?")


def test_a_tool_over_http_is_called_with_the_query(over_http, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    tool = over_http("shout")
    assert tool("hello") == Observation("HELLO!")
    assert tool("again") == Observation("AGAIN!")


def test_one_server_answers_all_calls_and_ends_with_close(opened):
    tool = opened("count")
    first, second = tool("a").text.split(), tool("b").text.split()
    assert (first[0], second[0]) == ("1", "2")
    assert first[1] == second[1]
    assert children() == [int(first[1])]
    tool.close()
    assert children() == []


@pytest.mark.slow
def test_closing_ends_a_call_that_is_under_way(opened):
    tool = opened("pause", timeout_s=60.0)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(tool, "3600")
        time.sleep(0.3)
        begun = time.monotonic()
        tool.close()
        tool.close()
        with pytest.raises(ToolFailed, match="the tool is closed"):
            call.result()
    assert time.monotonic() - begun < 8
    assert children() == []


def test_an_error_of_the_tool_is_what_it_says(over_http):
    said = over_http("broken")("that")
    assert not said.ok
    assert said.text.endswith("cannot do that")


def test_parts_that_are_no_text_are_named(over_http):
    assert over_http("mixed")("x") == Observation("before\n[image: image/png]\nafter")


def test_what_is_said_has_a_bound(over_http):
    assert over_http("huge")("x") == Observation("x" * MAX_CHARACTERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hang", "stuck"])
def test_a_call_that_hangs_is_a_failure_and_the_next_one_is_answered(opened, name):
    tool = opened(name, timeout_s=0.5)
    begun = time.monotonic()
    with pytest.raises(ToolFailed, match=r"no answer within 0\.5 s"):
        tool("long")
    assert time.monotonic() - begun < 8
    assert tool("quick").text.startswith("done")


def test_calls_at_once_share_a_server_and_do_not_wait_for_one_another(opened):
    tool = opened("pause")
    with ThreadPoolExecutor(4) as pool:
        begun = time.monotonic()
        said = [answer.text.split()[1] for answer in pool.map(tool, ["0.5"] * 4)]
    assert time.monotonic() - begun < 1.5
    assert len(set(said)) == 1


@pytest.mark.slow
def test_a_call_that_hangs_takes_no_other_with_it(opened):
    tool = opened("pause", timeout_s=1.0)
    with ThreadPoolExecutor(3) as pool:
        hanging = pool.submit(tool, "3600")
        time.sleep(0.5)
        begun = [pool.submit(tool, "0.8") for _ in range(2)]
        with pytest.raises(ToolFailed, match="no answer within 1 s"):
            hanging.result()
        later = tool("0")
    before = {call.result().text.split()[1] for call in begun}
    assert len(before) == 1
    assert later.text.split()[1] not in before
    assert children() == [int(later.text.split()[1])]


@pytest.mark.slow
def test_calls_at_once_that_meet_the_servers_end_start_one_other(opened):
    tool = opened("pause")
    process = tool("0").text.split()[1]
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(tool, "0.5") for _ in range(4)]
        time.sleep(0.2)
        os.kill(int(process), 9)
        others = {call.result().text.split()[1] for call in calls}
    assert len(others) == 1
    assert others != {process}
    assert [str(pid) for pid in children()] == [*others]


def test_a_server_that_ends_is_started_once_more(opened, tmp_path):
    assert opened("crash")(str(tmp_path / "once")) == Observation("survived")


@pytest.mark.slow
def test_a_server_that_ends_twice_is_a_failure_and_the_next_call_is_answered(opened, tmp_path):
    tool = opened("crash")
    with pytest.raises(ToolFailed, match="ended twice"):
        tool("always")
    assert tool(str(tmp_path / "once")) == Observation("survived")


@pytest.mark.slow
def test_a_server_that_was_killed_is_started_again(opened):
    tool = opened("count")
    process = tool("a").text.split()[1]
    os.kill(int(process), 9)
    calls, other = tool("b").text.split()
    assert calls == "1"
    assert other != process


def test_a_server_is_given_the_variables_that_are_named_and_no_others(opened, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "t0ken")
    monkeypatch.setenv("OTHER_TOKEN", "other")
    names = opened("environment", env=("MY_TOKEN",))("x").text.split()
    assert "MY_TOKEN" in names
    assert "OTHER_TOKEN" not in names
    assert opened("told", env=("MY_TOKEN",))("MY_TOKEN") == Observation("(MY_TOKEN)")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"tool": "shuot"}, r"mcp\.tool: at .* has no tool 'shuot'; did you mean 'shout'\?"),
        ({"tool": "shout", "argument": "txt"}, r"mcp\.argument: 'shout' takes no 'txt'; did you mean 'text'\?"),
        ({"tool": "shout", "arguments": {"loud": 1}}, r"mcp\.argument: 'shout' takes no 'loud'; there are: "),
        ({"tool": "sums", "argument": "a"}, r"mcp\.argument: 'a' of 'sums' takes no string"),
        ({"tool": "sums", "argument": "note", "arguments": {"a": 1}}, r"mcp\.arguments: 'sums' needs 'b'"),
        ({"tool": "shout", "arguments": {"text": "x"}}, r"mcp\.arguments: 'text' takes the query"),
    ],
)
def test_what_the_server_does_not_have_is_said_in_one_line_at_opening(over_http, table, message):
    with pytest.raises(SparkError, match=f"^{message}[^\n]*$"):
        over_http(**table)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"command": ("/no/such/program",)}, r"mcp server 'program': .*No such file"),
        ({"command": (sys.executable, "-c", "raise SystemExit('no luck')")}, r"mcp server .*\(no luck\)"),
        ({"command": None}, "mcp: needs either `command` or `url`"),
        ({"url": "http://127.0.0.1:1/mcp"}, "mcp: needs either `command` or `url`"),
        ({"command": None, "url": "ftp://x"}, r"mcp\.url: is not an address"),
        ({"command": None, "url": "http://127.0.0.1:1/mcp"}, r"mcp server at http://127\.0\.0\.1:1/mcp: "),
        ({"env": ("NO_SUCH_VARIABLE",)}, r"mcp\.env: NO_SUCH_VARIABLE is not in the environment"),
    ],
)
def test_a_server_that_cannot_be_had_is_said_in_one_line_at_opening(table, message):
    with pytest.raises(SparkError, match=f"^{message}[^\n]*$"):
        open_mcp(Table("x", **table), timeout_s=5.0)
    assert children() == []


@pytest.mark.slow
def test_a_server_over_http_that_was_started_anew_is_found_again(opened):
    with serving() as (address, process):
        tool = opened("shout", command=None, url=address)
        assert tool("a") == Observation("A!")
        process.kill()
        process.wait()
        with pytest.raises(ToolFailed):
            tool("b")
        with serving(address.split(":")[2].split("/")[0]):
            assert tool("c") == Observation("C!")


def test_a_server_over_http_cannot_lead_elsewhere():
    server, other = WebServer(), WebServer()
    server.always = redirect(f"{other.url}/mcp", 307)
    with pytest.raises(SparkError, match=r"^mcp server at "):
        open_mcp(Table("x", command=None, url=f"{server.url}/mcp"), timeout_s=5.0)
    assert server.seen
    assert other.seen == []
    server.close()
    other.close()


def test_an_optional_string_is_a_string(over_http):
    assert over_http("perhaps")("x") == Observation("x")


@pytest.mark.slow
def test_a_server_that_says_nothing_at_opening_is_given_up(monkeypatch):
    monkeypatch.setattr(mcp_server, "OPENING_S", 0.5)
    silent = (sys.executable, "-c", f"import time; time.sleep(3600)  # {SERVER}")
    with pytest.raises(SparkError, match="not started"):
        open_mcp(Table("x", command=silent), timeout_s=5.0)
    assert children() == []


@pytest.mark.slow
def test_a_program_that_ends_without_close_leaves_no_server():
    code = f"""
import sys; sys.path[:0] = [{str(ROOT / "tests" / "tools")!r}, {str(ROOT / "tests")!r}]
from test_mcp_server import Table, open_mcp
print(open_mcp(Table("count"), timeout_s=10)("x").text)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not Path(f"/proc/{done.stdout.split()[1]}").exists()
