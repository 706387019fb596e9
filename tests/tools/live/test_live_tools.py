"""What must hold of the live tools: each real service's format is read, what a service says is told apart from what keeps it
from saying anything, its etiquette is kept, and no key is ever seen. Over real HTTP, to servers on loopback."""

import email.utils
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import pytest

import sparkctl
from helpers import web_server
from helpers.web_server import redirect, says
from sparkctl.errors import SparkError
from sparkctl.tools.live import service, web_search
from sparkctl.tools.live.open import open_live
from sparkctl.tools.observation import Observation, ToolFailed

KEY = "k3y/with+odd=parts"
BASES = {"wikipedia": "/w", "search": "", "semantic_scholar": "/graph/v1", "wolfram_alpha": "/api/v1"}


@dataclass(frozen=True)
class Table:
    """A tool's table in tools.toml."""

    url: str | None = None
    min_interval_s: float | None = 0.0
    contact: str | None = None
    hits: int = 2


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setenv("WOLFRAM_APP_ID", KEY)
    monkeypatch.delenv("SEMANTIC_SCHOLAR_API_KEY", raising=False)
    monkeypatch.setattr(service, "BACKOFF_S", 0.01)
    service.turn.cache_clear()


@pytest.fixture
def opened(server):
    """`opened(name)`: the tool of that name over the server."""
    tools = []

    def open_tool(name, timeout_s=2.0, **table):
        tools.append(open_live(name, Table(url=server.url + BASES[name], **table), timeout_s=timeout_s))
        return tools[-1]

    yield open_tool
    for tool in tools:
        tool.close()


# What the services say ------------------------------------------------------------------------------------------------


def test_wikipedia_gives_titles_and_first_sections_by_rank(server, opened):
    said = opened("wikipedia")("capital of France")
    assert said == Observation("Paris: The capital of France — Île-de-France. | Paris, Texas: A city in Texas.")
    asked = server.seen[0].parameters
    assert (asked["generator"], asked["gsrsearch"], asked["gsrlimit"]) == ("search", "capital of France", "2")
    assert (asked["exintro"], asked["explaintext"], asked["maxlag"]) == ("1", "1", "5")
    assert opened("wikipedia", hits=1)("capital of France").text.endswith("Île-de-France.")


def test_a_page_that_only_lists_meanings_is_no_result(opened):
    assert opened("wikipedia")("mercury") == Observation("ambiguous: Mercury; be more precise", ok=False)


def test_what_the_wiki_says_is_wrong_with_a_query_is_an_observation(opened):
    said = Observation("error: Regex syntax error: unexpected end-of-string.", ok=False)
    assert opened("wikipedia")("bad") == said


@pytest.mark.parametrize(
    ("code", "tries"),
    [
        ("cirrussearch-backend-error", 3),
        ("cirrussearch-too-busy-error", 3),
        ("ratelimited", 3),
        ("internal_api_error_DBQueryError", 1),
        ("unknown_action", 1),
    ],
)
def test_trouble_of_the_wiki_is_a_failure(server, opened, code, tries):
    server.always = says(json.dumps({"error": {"code": code, "info": "Sorry."}}))
    with pytest.raises(ToolFailed, match=code):
        opened("wikipedia")("q")
    assert len(server.seen) == tries


def test_a_wiki_without_extracts_is_a_failure(server, opened):
    pages = {"batchcomplete": True, "query": {"pages": [{"title": "Paris", "index": 1}]}}
    server.then(says(json.dumps(pages)))
    with pytest.raises(ToolFailed, match="TextExtracts"):
        opened("wikipedia")("x")


def test_search_asks_a_searxng_instance_where_one_is_named(server, opened):
    assert opened("search")("q") == Observation("First: One text. | Second: Another text.")
    assert opened("search", hits=1)("q") == Observation("First: One text.")
    assert server.seen[0].parameters == {"q": "q", "format": "json"}


def test_nothing_found_while_engines_were_down_is_a_failure(opened):
    with pytest.raises(ToolFailed, match="engines did not answer"):
        opened("search")("all down")


def test_semantic_scholar_gives_the_short_summary_else_the_abstract(server, opened):
    said = opened("semantic_scholar", hits=3)("self-attention")
    assert said == Observation("Attention (2017): Attention alone suffices. | Untold | Old (1950): Can machines think?")
    assert server.seen[0].parameters["query"] == "self attention"
    assert server.seen[0].parameters["fields"] == "title,year,abstract,tldr"
    assert "x-api-key" not in server.seen[0].headers


def test_wolfram_alpha_gives_its_sections_without_pictures_and_links(server, opened):
    said = opened("wolfram_alpha")("1 mile in km")
    text = "Input interpretation: | convert 1 mile to kilometers | Result: | 1.609 km"
    assert said == Observation(text)
    assert server.seen[0].parameters == {"input": "1 mile in km"}


def test_what_wolfram_alpha_does_not_understand_is_an_observation(server, opened):
    said = opened("wolfram_alpha")("gibberish")
    assert said.text.startswith("not understood: Wolfram|Alpha did not understand your input")
    assert not said.ok
    assert len(server.seen) == 1


@pytest.mark.parametrize("name", ["wikipedia", "search", "semantic_scholar"])
def test_nothing_found_is_an_observation(opened, name):
    assert opened(name)("nothing") == Observation("no result", ok=False)


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("status", [400, 413, 414, 422])
def test_a_query_that_is_not_accepted_is_an_observation(server, opened, name, status):
    server.then(says('{"error": "no"}', status=status))
    said = opened(name)("q")
    assert said == Observation(f"error: the service did not accept the query (HTTP {status})", ok=False)
    assert len(server.seen) == 1


def test_words_of_a_page_are_data(opened):
    assert opened("wikipedia", hits=1)("injected").text == f"Paris: {web_server.INJECTED}"


@pytest.mark.parametrize(
    "query", ["Ünïcödé 数学 🙂", "a&b=c#d?e%20f+g", "x\ud800y", "tab\tline\nnul\0", "../..", "&appid=x"]
)
@pytest.mark.parametrize("name", BASES)
def test_any_query_arrives_as_it_is(server, opened, name, query):
    assert opened(name)(query).ok
    names = {"wikipedia": "gsrsearch", "search": "q", "semantic_scholar": "query", "wolfram_alpha": "input"}
    assert server.seen[0].parameters[names[name]] == query.replace("\ud800", "?")
    assert "appid" not in server.seen[0].parameters


@pytest.mark.parametrize(("name", "most"), [("wikipedia", 300), ("search", 1000), ("wolfram_alpha", 1000)])
def test_a_query_that_is_too_long_is_not_sent(server, opened, name, most):
    said = opened(name)("é" * (most + 1))
    assert said == Observation(f"error: query too long: {most + 1} characters, at most {most}", ok=False)
    assert server.seen == []
    assert opened(name)("é" * most).ok


# What keeps them from saying anything ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(
    "fault",
    [
        says("<html><body>Our servers are having a problem</body></html>", "text/html"),
        says("", "text/html"),
        redirect("http://127.0.0.1:1/"),
        web_server.cut,
        web_server.bomb,
        says("gone", status=404),
        says("no", status=403),
        says("no", status=401),
        says("", status=204),
        says("", status=304),
    ],
    ids=["html", "empty", "redirect", "cut", "bomb", "404", "403", "401", "204", "304"],
)
def test_what_is_no_answer_is_a_failure(server, opened, name, fault):
    server.always = fault
    with pytest.raises(ToolFailed, match=f"^{name}: [^\n]+$"):
        opened(name)("q")


@pytest.mark.parametrize("name", ["wikipedia", "search", "semantic_scholar"])
@pytest.mark.parametrize(
    "body",
    [
        "{}", "[]", "null", "3", '"x"', "{", "[" * 100_000, '{"query": 3}', '{"results": [{"title": 3}]}',
        '{"total": "many"}', '{"total": 1, "data": [{"year": 1}]}', '{"query": {"pages": [{}]}}', "\xff",
    ],
)  # fmt: skip
def test_json_of_another_form_is_a_failure(server, opened, name, body):
    server.then(says(body.encode("latin-1").decode("latin-1")))
    with pytest.raises(ToolFailed, match=f"^{name}: answer in another format"):
        opened(name)("q")
    assert len(server.seen) == 1


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_service_is_asked_three_times_and_no_more(server, opened, name, status):
    server.always = says("busy", status=status)
    with pytest.raises(ToolFailed, match=f"{name}: HTTP {status}"):
        opened(name)("q")
    assert len(server.seen) == 3


@pytest.mark.parametrize("fault", [says("busy", status=503), web_server.cut])
def test_a_service_that_recovers_is_heard(server, opened, fault):
    server.then(fault, fault)
    assert opened("search")("q").ok
    assert len(server.seen) == 3


def test_back_off_grows(server, opened, monkeypatch):
    monkeypatch.setattr(service, "BACKOFF_S", 0.2)
    server.always = says("busy", status=503)
    with pytest.raises(ToolFailed):
        opened("search")("q")
    first, second = (later.at - sooner.at for sooner, later in zip(server.seen, server.seen[1:], strict=False))
    assert 0.2 <= first < 0.4 + 0.15
    assert 0.4 <= second < 0.6 + 0.15


def test_retry_after_in_seconds_is_obeyed(server, opened):
    server.then(says("slow down", status=429, Retry_After="1"))
    assert opened("semantic_scholar")("q").ok
    assert 1.0 <= server.seen[1].at - server.seen[0].at < 1.5


@pytest.mark.slow
def test_retry_after_as_a_date_is_obeyed(server, opened):
    when = email.utils.formatdate(time.time() + 2, usegmt=True)  # to the second, so 1 to 2 s from now
    server.then(says("slow down", status=503, Retry_After=when))
    assert opened("semantic_scholar")("q").ok
    assert 0.9 <= server.seen[1].at - server.seen[0].at < 2.5


@pytest.mark.parametrize("told", ["31", "86400", "9" * 400, "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_service_that_wants_a_longer_rest_is_left_alone(server, opened, told):
    server.always = says("slow down", status=429, Retry_After=told)
    with pytest.raises(ToolFailed, match=r"HTTP 429, asks to wait (\d+|inf) s"):
        opened("semantic_scholar")("q")
    with pytest.raises(ToolFailed, match=r"asks to be left alone for \d+ s more"):
        opened("wikipedia")("q")  # the same host
    assert len(server.seen) == 1


def test_retry_after_holds_for_calls_that_are_under_way(server, opened):
    tool = opened("search", min_interval_s=0.0)
    server.then(says("slow down", status=429, Retry_After="1"))
    with ThreadPoolExecutor(3) as pool:
        assert all(said.ok for said in pool.map(tool, ["a", "b", "c"]))
    assert len(server.seen) == 4
    assert server.seen[1].at - server.seen[0].at >= 1.0


@pytest.mark.parametrize("told", ["soon", "-5", "1e3", "", "Fri, 99 Foo 2100", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_retry_after_that_means_nothing_is_passed_over(server, opened, told):
    server.then(says("slow down", status=429, Retry_After=told))
    assert opened("semantic_scholar")("q").ok


def test_a_wiki_that_lags_is_asked_again(server, opened):
    error = json.dumps({"error": {"code": "maxlag", "info": "Waiting for 10.64.0.1: 6 seconds lagged."}})
    server.then(says(error), says(error, Retry_After="0"))
    assert opened("wikipedia")("q").ok
    assert len(server.seen) == 3
    server.always = says(error, Retry_After="60")
    with pytest.raises(ToolFailed, match="wikipedia: maxlag, asks to wait 60 s"):
        opened("wikipedia")("q")
    assert len(server.seen) == 4


def test_time_that_ran_out_is_a_failure_and_not_tried_again(server, opened):
    tool = opened("search", timeout_s=0.3)
    server.then(web_server.hang)
    begun = time.monotonic()
    with pytest.raises(ToolFailed, match=r"search: no answer within 0\.3 s"):
        tool("q")
    assert time.monotonic() - begun < 0.8
    assert tool("q").ok


def test_a_server_that_is_not_there_is_a_failure():
    tool = open_live("search", Table(url="http://127.0.0.1:1"), timeout_s=1.0)
    with pytest.raises(ToolFailed, match="search: no connection"):
        tool("q")
    tool.close()


# Etiquette ------------------------------------------------------------------------------------------------------------


def test_the_user_agent_names_us_and_whom_to_ask(server, opened):
    import httpx

    opened("wikipedia", contact="me@example.org")("q")
    opened("wikipedia")("q")
    library = f"httpx/{httpx.__version__}"
    told = [seen.headers["user-agent"] for seen in server.seen]
    ours = f"sparkctl/{sparkctl.__version__}"
    assert told == [f"{ours} (+me@example.org) {library}", f"{ours} {library}"]


def test_requests_to_one_host_keep_their_distance_whatever_tool_sends_them(server, opened):
    first, second = opened("search", min_interval_s=0.2), opened("wikipedia", min_interval_s=0.2)
    for tool in (first, second, first):
        tool("q")
    gaps = [later.at - sooner.at for sooner, later in zip(server.seen, server.seen[1:], strict=False)]
    assert min(gaps) >= 0.19
    assert max(gaps) < 0.4


def test_calls_at_once_are_asked_one_after_the_other(server, opened):
    under_way, most = [], []

    def slow(handler, seen):
        under_way.append(seen)
        most.append(len(under_way))
        handler.server.ended.wait(0.05)
        under_way.remove(seen)
        web_server.searxng(handler, seen)

    server.always = slow
    with ThreadPoolExecutor(4) as pool:
        assert all(said.ok for said in pool.map(opened("search"), "abcdefgh"))
    assert max(most) == 1
    assert len(most) == 8


def test_tries_keep_their_distance_too(server, opened):
    server.then(says("busy", status=503))
    opened("search", min_interval_s=0.3)("q")
    assert server.seen[1].at - server.seen[0].at >= 0.29


def test_the_services_own_distance_holds_where_none_is_set(server, opened):
    tool = opened("semantic_scholar", min_interval_s=None)
    tool("q")
    tool("q")
    assert server.seen[1].at - server.seen[0].at >= 0.99


# Keys -----------------------------------------------------------------------------------------------------------------


def test_keys_travel_in_headers(server, opened, monkeypatch):
    monkeypatch.setenv("SEMANTIC_SCHOLAR_API_KEY", "s2key")
    opened("semantic_scholar")("q")
    opened("wolfram_alpha")("q")
    assert server.seen[0].headers["x-api-key"] == "s2key"
    assert server.seen[1].headers["authorization"] == f"Bearer {KEY}"
    assert not any(KEY in "".join(seen.parameters.values()) for seen in server.seen)


def test_a_key_that_a_server_sends_back_is_not_shown(server, opened):
    echo = f"Result:\nfor {KEY} and k3y%2Fwith%2Bodd%3Dparts"
    tool = opened("wolfram_alpha")
    server.then(says(echo, "text/plain"), says(echo, "text/plain", 501))
    for said in (tool("q"), tool("q")):
        assert "k3y" not in said.text
        assert said.text.count("(WOLFRAM_APP_ID)") == 2


@pytest.mark.parametrize("status", [401, 403, 500, 404])
def test_no_failure_holds_the_key(server, opened, status):
    server.always = says(f"Invalid appid {KEY}", f"text/{KEY}", status=status)
    with pytest.raises(ToolFailed) as caught:
        opened("wolfram_alpha")("q")
    assert "k3y" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_format_error_does_not_hold_the_key(server, opened, monkeypatch):
    monkeypatch.setenv("SEMANTIC_SCHOLAR_API_KEY", KEY)
    server.then(says(json.dumps({"total": KEY}), f"text/{KEY}"))
    with pytest.raises(ToolFailed, match=r"\(SEMANTIC_SCHOLAR_API_KEY\)") as caught:
        opened("semantic_scholar")("q")
    assert "k3y" not in str(caught.value)


def test_nothing_is_logged_that_holds_a_key(server, opened, caplog):
    with caplog.at_level(0):
        opened("wolfram_alpha")("q")
    assert "k3y" not in caplog.text


# What is wrong with the settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "table", "environment", "message"),
    [
        ("wolfram_alpha", {}, {"WOLFRAM_APP_ID": ""}, "wolfram_alpha: needs WOLFRAM_APP_ID in the environment"),
        ("wolfram_alpha", {}, {"WOLFRAM_APP_ID": "a\nb"}, "WOLFRAM_APP_ID: what the environment holds cannot"),
        ("semantic_scholar", {}, {"SEMANTIC_SCHOLAR_API_KEY": "ä"}, "SEMANTIC_SCHOLAR_API_KEY: what"),
        ("wikipedia", {"url": "file:///etc"}, {}, r"wikipedia\.url: is not an address"),
        ("wikipedia", {"url": "example.org"}, {}, r"wikipedia\.url: is not an address"),
        ("wikipedia", {"url": "http://[::1"}, {}, r"wikipedia\.url: is not an address"),
        ("search", {"url": "http://u:p4ss@example.org"}, {}, r"search\.url: leave out credentials"),
        ("search", {"url": "http://example.org/?key=p4ss"}, {}, r"search\.url: leave out credentials"),
        ("wikipedia", {"contact": "me\r\nX: y"}, {}, r"wikipedia\.contact: goes into a header"),
        ("wikipedia", {"hits": 21}, {}, r"tools\.hits: 21 is not between 1 and 20"),
        ("calculator", {}, {}, "calculator: there is no live tool of that name; there are: wikipedia, search"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_line_at_once(monkeypatch, name, table, environment, message):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SparkError, match=f"^{message}[^\n]*$") as caught:
        open_live(name, Table(**table), timeout_s=1.0)
    assert "p4ss" not in str(caught.value)


# ddgs -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def engines(server, monkeypatch):
    """ddgs's engines led to the server, whose origin is allowed; only DuckDuckGo's format is spoken there."""
    from ddgs.engines import ENGINES

    for name in web_search.WebSearch.ENGINES:
        monkeypatch.setattr(ENGINES["text"][name], "search_url", f"{server.url}/html/")
    guarded = web_search.PublicHttp
    monkeypatch.setattr(web_search, "PublicHttp", lambda own, **more: guarded(own=server.url, **more))


def searched(query):
    """What search without an address finds; what it opened is closed."""
    with closing(open_live("search", Table(), timeout_s=1.0)) as tool:
        return tool(query)


def test_search_without_an_address_reads_an_engine_through_ddgs(server, engines):
    assert searched("some query") == Observation("Title 1: Snippet 1 of some query | Title 2: Snippet 2 of some query")
    assert server.seen[0].parameters["q"] == "some query"


@pytest.mark.parametrize(
    "fault", [says("", status=202), says("busy", status=429), web_server.cut, says("<html></html>", "text/html")]
)
def test_an_engine_that_gives_nothing_is_a_failure(server, engines, fault):
    server.always = fault
    with pytest.raises(ToolFailed, match=r"^search: no engine gave a result"):
        searched("q")


@pytest.mark.slow
def test_an_engine_that_hangs_is_a_failure(server, engines):
    server.always = web_server.hang
    begun = time.monotonic()
    with pytest.raises(ToolFailed, match=r"^search: no engine gave a result"):
        searched("q")
    assert time.monotonic() - begun < 6.0, "three engines, a second each"


def test_the_engines_that_are_asked_are_known_to_ddgs():
    from ddgs.engines import ENGINES

    assert set(web_search.WebSearch.ENGINES) <= set(ENGINES["text"])


def test_an_engine_that_redirects_to_this_machine_is_refused_and_the_next_is_asked(server, engines, monkeypatch):
    """A query such as "!ducky" makes an engine redirect to what it finds."""
    monkeypatch.setattr(web_search.WebSearch, "ENGINES", ("duckduckgo", "duckduckgo"))
    other = web_server.WebServer()
    try:
        server.then(web_server.redirect(f"http://127.0.0.1:{other.port}/latest/meta-data/"))
        assert searched("!ducky x").ok
        assert other.seen == []
        server.always = web_server.redirect(f"http://127.0.0.1:{other.port}/latest/meta-data/")
        with pytest.raises(ToolFailed, match=r"127\.0\.0\.1 is not a public address"):
            searched("!ducky x")
        assert other.seen == []
    finally:
        other.close()


def test_without_an_address_no_private_one_is_asked(server, monkeypatch):
    from ddgs.engines import ENGINES

    for name in web_search.WebSearch.ENGINES:
        monkeypatch.setattr(ENGINES["text"][name], "search_url", f"{server.url}/html/")
    with pytest.raises(ToolFailed, match="not a public address"):
        searched("q")
    assert server.seen == []
