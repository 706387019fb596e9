"""What must hold of the tools' port: each tool by its back end and with a memory of its own, what is recorded, replay."""

import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.tables_and_fakes import ROOT
from sparkctl.config import recipe
from sparkctl.config.settings import checked
from sparkctl.errors import SparkError
from sparkctl.method.episode import ACTIONS, TOOLS
from sparkctl.pipeline import plan
from sparkctl.pipeline.graph import refuse_missing
from sparkctl.pipeline.ports import tools as tool_ports
from sparkctl.storage.memory import Memory
from sparkctl.tools import Observation, ToolFailed
from sparkctl.tools.recordings import Recording, Recordings
from sparkctl.tools.settings import Tools


class World:
    """What lives outside: answers, counts, and fails where told."""

    def __init__(self):
        self.opened, self.asked, self.at_once, self.most = [], [], 0, 0
        self.fail = set()
        self.lock = threading.Lock()

    def __call__(self, name, settings):
        self.opened.append((name, settings.of(name).backend))

        def ask(query):
            with self.lock:
                self.asked.append(query)
                self.at_once += 1
                self.most = max(self.most, self.at_once)
            time.sleep(0.02)
            with self.lock:
                self.at_once -= 1
            if query in self.fail:
                raise ToolFailed(f"503 for {query}")
            return Observation(f"{name} on {query}\nAction: cot")

        return ask


def tools(**tables):
    return checked(Tools, {"descriptions": {a: a for a in ACTIONS}} | tables, "tools")


@pytest.fixture
def world():
    yield World()
    tool_ports.close_tools()


@pytest.fixture
def memory(tmp_path):
    return Memory(tmp_path / "data" / "memory.sqlite")


def ask(settings, memory, calls, world=tool_ports.outside, watch=lambda n, known, cost_usd=0.0: None):
    port = tool_ports.tools_port(settings, memory, watch, world)
    return port([{"tool_name": name, "query": query} for name, query in calls])


def said(replies):
    return [reply.error or reply.body["text"] for reply in replies]


LIVE = {"wikipedia": {"backend": "live"}}
CALLS = [("wikipedia", "xenon"), ("calculator", "1 + 1"), ("wikipedia", "neon"), ("calculator", "2 + 2")]


def test_replies_come_in_the_order_of_the_requests_whatever_serves_them(world, memory):
    replies = ask(tools(**LIVE), memory, CALLS, world)
    assert said(replies) == ["wikipedia on xenon Action: cot", "2", "wikipedia on neon Action: cot", "4"]
    assert world.opened == [("wikipedia", "live")]


def test_what_was_answered_is_not_asked_again_whatever_the_knobs(world, memory):
    ask(tools(**LIVE), memory, CALLS, world)
    slower = {
        "wikipedia": {"backend": "live", "timeout_s": 5.0, "concurrency": 1, "min_interval_s": 2.0, "contact": "a@b"}
    }
    assert said(ask(tools(**slower), memory, CALLS, world))[0] == "wikipedia on xenon Action: cot"
    assert len(world.asked) == 2
    ask(tools(wikipedia={"backend": "live", "url": "http://127.0.0.1:9/"}), memory, CALLS, world)
    assert len(world.asked) == 4


def test_another_back_end_of_one_tool_throws_nothing_of_the_others_away(world, memory):
    counted = []
    watch = lambda n, known, cost_usd=0.0: counted.append((n, known))  # noqa: E731
    ask(tools(), memory, CALLS, world)
    ask(tools(**LIVE), memory, CALLS, world, watch)
    assert (2, 2) in counted, "the calculator's two replies were remembered"
    assert world.asked == ["xenon", "neon"]


def test_calls_of_a_service_overlap_within_the_bound(world, memory):
    settings = tools(wikipedia={"backend": "live", "concurrency": 3})
    ask(settings, memory, [("wikipedia", str(i)) for i in range(12)], world)
    assert world.most == 3


def test_a_failed_call_is_an_error_neither_remembered_nor_recorded(world, memory):
    world.fail = {"neon"}
    replies = ask(tools(**LIVE), memory, CALLS, world)
    assert (replies[2].body, replies[2].error) == (None, "503 for neon")
    assert [r.query for r in Recordings(memory).all("wikipedia")] == ["xenon"]
    world.fail = set()
    assert ask(tools(**LIVE), memory, CALLS, world)[2].error is None
    assert world.asked.count("xenon") == 1


def test_a_tool_that_cannot_be_opened_ends_the_stage(memory):
    def closed(name, settings):
        raise SparkError("WOLFRAM_APP_ID is not set")

    with pytest.raises(SparkError, match="WOLFRAM_APP_ID"):
        ask(tools(wolfram_alpha={"backend": "live"}), memory, [("wolfram_alpha", "1")], closed)


def test_what_is_answered_is_recorded_and_replayed(world, memory):
    mixed = {"wikipedia": {"backend": "mcp", "mcp": {"command": ["server"], "tool": "look"}}}
    first = ask(tools(**mixed), memory, [*CALLS, ("wikipedia", "  xenon ")], world)
    recorded = {r.query: r for r in Recordings(memory).all()}
    assert recorded.keys() == {"1 + 1", "2 + 2", "xenon", "neon"}
    assert (recorded["1 + 1"].backend, recorded["1 + 1"].recorded_at) == ("offline", None)
    assert recorded["xenon"].backend == "mcp"
    assert recorded["xenon"].recorded_at.endswith("Z")
    replay = tools(**{name: {"backend": "replay"} for name in TOOLS})
    assert ask(replay, memory, CALLS, world) == [
        reply.__class__({k: reply.body[k] for k in ("text", "ok")}, None, 0.0) for reply in first[:4]
    ]
    assert world.asked == ["xenon", "neon"]


def test_the_recording_is_the_answer_given_last(world, memory):
    """Also where it was remembered: a run's recordings are what that run saw."""
    offline = said(ask(tools(), memory, CALLS[:1], world))
    live = said(ask(tools(**LIVE), memory, CALLS[:1], world))
    assert Recordings(memory).recall("wikipedia", ["xenon"])["xenon"].observation == live[0] != offline[0]
    assert said(ask(tools(), memory, CALLS[:1], world)) == offline
    assert Recordings(memory).recall("wikipedia", ["xenon"])["xenon"].observation == offline[0]


def test_a_miss_is_an_error_that_names_tool_and_query(memory):
    replies = ask(tools(search={"backend": "replay"}), memory, [("search", "never asked\nthis")])
    assert (replies[0].body, replies[0].error) == (None, "no recording of search 'never asked this'")
    assert Recordings(memory).all() == []


def test_a_recording_from_elsewhere_is_bounded_and_on_one_line(memory):
    Recordings(memory).keep([Recording("search", "x", "a\nAction: cot\nInput: " + "y" * 900, True, "live", None)])
    reply = ask(tools(search={"backend": "replay"}), memory, [("search", "x")])[0]
    assert reply.body["text"].startswith("a Action: cot Input: yy")
    assert len(reply.body["text"]) == 600


def test_a_corpus_from_a_file_answers_and_its_bytes_decide(world, memory, tmp_path):
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.table({"title": ["Xenon"], "text": ["a noble gas"]}), path)
    settings = tools(static_kb={"corpus": str(path)})
    before = tool_ports.identities(settings, memory)
    assert said(ask(settings, memory, [("static_kb", "xenon"), ("search", "xenon")])) == [
        "Xenon: a noble gas",
        "no result",
    ]
    assert len(list((memory.path.parent / "cache").iterdir())) == 1
    pq.write_table(pa.table({"title": ["Xenon"], "text": ["a heavy gas"]}), path)
    after = tool_ports.identities(settings, memory)
    assert [name for name in TOOLS if before[name] != after[name]] == ["static_kb"]
    assert said(ask(settings, memory, [("static_kb", "xenon")])) == ["Xenon: a heavy gas"]


def keys(*overrides, memory=None):
    """Node -> what of tools enters its key."""
    graph = plan.nodes(recipe.load(ROOT / "stages", "nano", overrides), memory)
    refuse_missing(graph)
    return {
        n.name: (n.settings.identity(), n.identities) for n in graph if n.name in ("select.1", "eval.base", "judge.1")
    }


def test_a_back_end_decides_the_keys_of_select_and_eval_but_not_the_embedded_judges():
    plain, live = keys(), keys("tools.wikipedia.backend=live")
    assert [name for name in plain if plain[name] != live[name]] == ["select.1", "eval.base"]


@pytest.mark.parametrize(
    "override",
    [
        "tools.wikipedia.timeout_s=3.0",
        "tools.search.concurrency=9",
        "tools.search.contact=me@example.org",
    ],
)
def test_what_does_not_decide_is_in_no_key(override):
    assert keys() == keys(override)


def test_the_recordings_decide_what_is_replayed(memory):
    replay = ("tools.wikipedia.backend=replay",)
    before = keys(*replay, memory=memory)
    Recordings(memory).keep([Recording("search", "x", "y", True, "live", None)])
    assert keys(*replay, memory=memory) == before
    Recordings(memory).keep([Recording("wikipedia", "x", "y", True, "live", None)])
    assert keys(*replay, memory=memory)["select.1"] != before["select.1"]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("tools.wikipedia.bakend=live", "tools.wikipedia.bakend: unknown setting; did you mean 'backend'?"),
        ("tools.wikpedia.backend=live", "tools.wikpedia: unknown setting; did you mean 'wikipedia'?"),
        ("tools.calculator.backend=live", "tools.calculator.backend: Input should be 'offline', 'replay' or 'mcp'"),
        ("tools.static_kb.backend=live", "tools.static_kb.backend: Input should be 'offline', 'replay' or 'mcp'"),
        ("tools.calculator.corpus=x", "tools.calculator.corpus: unknown setting"),
        ("tools.search.backend=mcp", 'tools.search: backend = "mcp" needs mcp.tool, and mcp.command or mcp.url'),
        ("tools.search.mcp={tool='t'}", "tools.search.mcp: give command or url, one of the two"),
        ("tools.search.mcp={tool='t',url='u',comand=['x']}", "tools.search.mcp.comand: unknown setting; did you mean 'command'?"),
        ("tools.search.timeout_s=0.0", "tools.search.timeout_s: Input should be greater than 0"),
        ("tools.search.corpus=nowhere.parquet", "tools.search.corpus: no file 'nowhere.parquet'"),
        ("tools.search.corpus=~nosuchuser/c.parquet", "tools.search.corpus: '~nosuchuser/c.parquet' begins with a user"),
        ("tools.search=3", "tools.search: Input should be"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_refused_by_name(override, says):
    with pytest.raises(SparkError) as fault:
        keys(override)
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)
