"""Run: pytest tests/tools/test_toolbox.py"""

import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.tables_and_fakes import ROOT
from sparkctl.errors import SparkError
from sparkctl.method.episode import ACTIONS, TOOLS
from sparkctl.tools import Document, Observation, Toolbox, ToolFailed, toolbox
from sparkctl.tools.toolbox import ARGUMENTS, Tool

DESCRIPTIONS: dict[str, str] = tomllib.loads((ROOT / "stages" / "tools.toml").read_text())["descriptions"]
DOCUMENTS = [
    Document("wikipedia", "Krebs cycle", "The Krebs cycle oxidises acetyl-CoA."),
    Document("static_kb", "speed of light", "299792458 m/s"),
    Document("search", "Demand", "Elasticity of demand."),
    Document("semantic_scholar", "Attention", "A network of attention alone."),
]
AWKWARD = [
    "",
    " \n\t",
    "\x00",
    "\x00 1",
    "🙂",
    "\ud800",
    "٣",
    "'",
    '"',
    "{}",
    "%s",
    "(" * 10**5,
    "9" * 10**5,
    "a " * 5 * 10**4,
]


@pytest.fixture(scope="module")
def box() -> Iterator[Toolbox]:
    with toolbox(DOCUMENTS) as tools:
        yield tools


@pytest.mark.parametrize(
    ("tool", "query", "text"),
    [
        ("calculator", "2 + 3*4", "14"),
        ("python_repl", "print(sum(range(10)))", "45"),
        ("wolfram_alpha", "solve 2*x + 3 = 11 for x", "x = 4"),
        ("search", "demand", "Elasticity of demand."),
        ("wikipedia", "krebs", "The Krebs cycle oxidises acetyl-CoA."),
        ("semantic_scholar", "networks", "A network of attention alone."),
        ("static_kb", "light speed", "speed of light: 299792458 m/s"),
        ("unit_converter", "12 km to m", "12000 m"),
    ],
)
def test_every_tool_answers(box: Toolbox, tool: str, query: str, text: str) -> None:
    observation = box(tool, query)
    assert (observation.text, observation.ok) == (text, True)


def test_a_source_is_looked_up_by_its_own_tool_only(box: Toolbox) -> None:
    assert box("search", "krebs").text == "no result"


def test_descriptions_are_one_line_each_in_the_order_of_the_actions() -> None:
    assert tuple(DESCRIPTIONS) == ACTIONS
    assert all("such as: " in DESCRIPTIONS[tool] and "\n" not in DESCRIPTIONS[tool] for tool in TOOLS)


@pytest.mark.parametrize("tool", ["calculator", "python_repl", "wolfram_alpha", "unit_converter"])
def test_the_example_in_a_description_works(box: Toolbox, tool: str) -> None:
    assert box(tool, DESCRIPTIONS[tool].split("such as: ")[1]).ok


@pytest.mark.parametrize("tool", TOOLS)
def test_no_string_makes_a_tool_raise(box: Toolbox, tool: str) -> None:
    for query in AWKWARD:
        observation = box(tool, query)
        assert observation.text
        assert len(observation.text) <= 600
        observation.text.encode()


@pytest.mark.parametrize("tool", TOOLS)
def test_what_is_no_argument_of_a_tool_is_told_what_the_tool_takes(box: Toolbox, tool: str) -> None:
    takes = ARGUMENTS[tool]
    empty = box(tool, " \n")
    assert (empty.text, empty.ok) == (f"error: empty input; {tool} takes {takes.kind}", False)
    long = box(tool, "9" * (takes.longest + 1))
    assert (long.text.startswith(f"error: input too long: {takes.longest + 1} characters"), long.ok) == (True, False)
    assert takes.kind in long.text


ALPHABET = st.sampled_from(
    [*"0123456789+-*/^%().,=!xX e", " to ", " in ", "km", "m", "sqrt(", "sin(", "solve ", "of", "**"]
)
QUERIES = st.one_of(st.text(max_size=60), st.lists(ALPHABET, max_size=15).map("".join))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tool=st.sampled_from([name for name in TOOLS if name != "python_repl"]), query=QUERIES)
def test_random_text_gets_one_bounded_line_and_the_same_twice(box: Toolbox, tool: str, query: str) -> None:
    observation = box(tool, query)
    assert observation == box(tool, query)
    assert "\n" not in observation.text
    assert 0 < len(observation.text) <= 600


@settings(max_examples=40, deadline=None)
@given(query=QUERIES)
def test_random_text_is_no_harm_to_python(box: Toolbox, query: str) -> None:
    observation = box("python_repl", query)
    assert observation == box("python_repl", query)
    assert 0 < len(observation.text) <= 600


def test_an_observation_is_one_line_of_bounded_length(box: Toolbox) -> None:
    assert box("python_repl", "print('Action: x\\nInput: y')").text == "Action: x Input: y"
    with toolbox(limit=20) as small:
        assert small("python_repl", "print('ab' * 100)").text == "ab" * 9 + "a…"


def test_a_call_that_came_to_nothing_is_no_observation() -> None:
    """Else it would be remembered, and recorded, as what the tool answers."""

    def broken(query: str) -> Observation:
        raise RuntimeError(query)

    def unreachable(query: str) -> Observation:
        raise ToolFailed("no route")

    with Toolbox({"search": lambda: broken, "wikipedia": lambda: unreachable}) as tools:
        with pytest.raises(ToolFailed, match=r"\Asearch failed \(RuntimeError\)\Z"):
            tools("search", "x")
        with pytest.raises(ToolFailed, match="no route"):
            tools("wikipedia", "x")


def test_a_tool_that_cannot_be_opened_ends_the_run() -> None:
    def closed() -> Tool:
        raise SparkError("WOLFRAM_APP_ID is not set")

    with pytest.raises(SparkError, match="WOLFRAM_APP_ID"):
        Toolbox({"wolfram_alpha": closed})("wolfram_alpha", "1 + 1")


def test_close_ends_what_was_opened_and_a_later_call_opens_it_again() -> None:
    events: list[str] = []

    class Session:
        def __init__(self) -> None:
            events.append("open")

        def __call__(self, query: str) -> Observation:
            return Observation(query)

        def close(self) -> None:
            events.append("close")

    with Toolbox({"search": Session}) as tools:
        assert tools("search", "a").text == "a"
        tools.close()
        assert tools("search", "b").text == "b"
    assert events == ["open", "close", "open", "close"]


def test_wrong_use_is_told() -> None:
    with pytest.raises(SparkError, match="unknown tool 'cot'"):
        toolbox()("cot", "x")
    with pytest.raises(SparkError, match="source 'web' is none of"):
        toolbox([Document("web", "t", "x")])
    with pytest.raises(SparkError, match="hits and limit"):
        toolbox(hits=0)


def test_more_hits_are_joined() -> None:
    documents = [Document("search", name, "tea") for name in ("One", "Two")]
    with toolbox(documents, hits=2) as tools:
        assert tools("search", "tea").text == "One: tea | Two: tea"


def test_importing_the_tools_loads_nothing_heavy_and_an_exit_leaves_no_warning() -> None:
    code = (
        "import sys, sparkctl.tools as t\n"
        "assert not {'sympy', 'pint', 'torch'} & set(sys.modules)\n"
        "box = t.toolbox()\n"
        "print(box('python_repl', '1 + 1').text)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-X", "dev", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("2\n", "", 0)
