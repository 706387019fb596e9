"""From the tables of tools.toml to one port for the eight tools: which back end serves each, what is remembered, what is
recorded.

Every tool has a memory of its own, under a scope that holds what decides its answers and nothing else: another back end
of one throws nothing of the others away. What is answered is recorded (see tools/recordings.py); `replay` answers from there.
"""

import atexit
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from sparkctl.config.recipe import expanded
from sparkctl.method.episode import TOOLS, one_line
from sparkctl.method.ids import digest
from sparkctl.method.ports import Arrived, Port, Reply, Request, StreamingPort, Watch
from sparkctl.storage.memory import Memory, lazy, remembered, remembered_singly
from sparkctl.tools import corpora
from sparkctl.tools.observation import Document, Observation, ToolFailed
from sparkctl.tools.offline.retrieval import Retrieval
from sparkctl.tools.python.repl import opened, unusable
from sparkctl.tools.recordings import Recording, Recordings
from sparkctl.tools.settings import Facts, Python, Search, Service, Tools
from sparkctl.tools.toolbox import RETRIEVAL, Tool, Toolbox, computing

VERSIONS = dict.fromkeys(TOOLS, 1) | {"python_repl": 2}
"""Raised by hand when an offline tool starts to answer the same query differently."""
OUTSIDE_VERSION = 1
"""Raised by hand when the same answer of a service is shown differently."""
TOOLS_ACCOUNT = "tools"
"""What calls of services are booked on in the memory of replies."""
_CHUNK = 64

Outside = Callable[[str, Tools], Tool]
"""Opens the tool of that name where its back end is `live` or `mcp`."""


class Live(NamedTuple):
    """What a live tool is opened with."""

    url: str | None
    min_interval_s: float | None
    contact: str | None
    hits: int


def outside(name: str, settings: Tools) -> Tool:
    """A tool that others serve. Raises SparkError where a key, a server or its tool is missing."""
    tool = settings.of(name)
    if tool.backend == "mcp":
        from sparkctl.tools.mcp_server import open_mcp

        assert tool.mcp is not None
        return open_mcp(tool.mcp, timeout_s=tool.timeout_s)
    from sparkctl.tools.live.open import open_live

    assert isinstance(tool, Service)
    asked = Live(tool.url, tool.min_interval_s, tool.contact, settings.hits)
    return open_live(name, asked, timeout_s=tool.timeout_s)


# ---- what decides ----------------------------------------------------------------------------------------------------


@cache
def embedded_identity() -> str:
    """What tells the embedded corpus from another."""
    return digest([[d.source, d.title, d.text] for d in _documents()])


def identities(settings: Tools, memory: Memory | None) -> dict[str, str]:
    """Tool -> what decides its answers beside its settings: version, the bytes of its corpus, what is recorded."""
    return {name: identity(name, settings, memory) for name in TOOLS}


def identity(name: str, settings: Tools, memory: Memory | None) -> str:
    """The same of one tool; SparkError where its corpus is missing."""
    tool = settings.of(name)
    if tool.backend == "replay":
        return Recordings(memory).identity(name) if memory else ""
    if tool.backend != "offline":
        return str(OUTSIDE_VERSION)
    version = str(VERSIONS[name])
    if not isinstance(tool, Facts | Search):
        return version
    return f"{version} {_corpus_identity(name, tool)}"


def _corpus_identity(name: str, tool: Facts | Search) -> str:
    key = f"tools.{name}.corpus"
    return corpora.identity(expanded(tool.corpus, key), key) if tool.corpus else embedded_identity()


def _scope(name: str, settings: Tools, memory: Memory) -> str:
    hits = settings.hits if name in RETRIEVAL else None
    known = settings.of(name).identity()
    return digest(["tool", name, known, identity(name, settings, memory), hits, settings.limit])


def embedded_scope(settings: Tools) -> str:
    """What decides the answers of the embedded judge's tools."""
    alone = _offline(settings)
    return digest([alone.identity(), identities(alone, None)])


def _offline(settings: Tools) -> Tools:
    python = settings.python_repl.model_copy(update={"backend": "offline"})
    return Tools(hits=settings.hits, limit=settings.limit, python_repl=python, descriptions={})


# ---- opening ---------------------------------------------------------------------------------------------------------

_boxes: dict[tuple[str, Outside], Toolbox] = {}
"""Opened once: the rounds of a run share a Python process, an index, a session with a server."""


def embedded(settings: Tools) -> Toolbox:
    """The offline tools over the embedded corpus, whatever the tables say: what the embedded judge works with."""
    return _box(_offline(settings))


def close_tools() -> None:
    """End every process and session of the tools."""
    for box in _boxes.values():
        box.close()
    _boxes.clear()


atexit.register(close_tools)


def open_tool(name: str, settings: Tools, cache_folder: Path) -> Tool:
    """One tool, as a stage would open it; the caller closes it. Raises SparkError where it cannot be."""
    return _open(name, settings, cache_folder, outside)


def _box(settings: Tools, cache_folder: Path = Path(), others: Outside = outside) -> Toolbox:
    tables = settings.model_dump_json(exclude={"descriptions"})
    key = (digest([str(cache_folder), tables, identities(settings, None)]), others)
    if key not in _boxes:
        openers = {name: partial(_open, name, settings, cache_folder, others) for name in TOOLS}
        _boxes[key] = Toolbox(openers, limit=settings.limit)
    return _boxes[key]


def _open(name: str, settings: Tools, cache_folder: Path, others: Outside) -> Tool:
    tool = settings.of(name)
    if tool.backend != "offline":
        return others(name, settings)
    if isinstance(tool, Python):
        return opened(**tool.limits())
    if isinstance(tool, Facts | Search):
        return _retrieval(name, tool, cache_folder)(hits=settings.hits, limit=settings.limit)
    return computing(name)


def _retrieval(name: str, tool: Facts | Search, cache_folder: Path) -> Callable[..., Tool]:
    if tool.corpus:
        key = f"tools.{name}.corpus"
        return partial(Retrieval.of_file, corpora.index(expanded(tool.corpus, key), key, cache_folder))
    return partial(Retrieval, [document for document in _documents() if document.source == name])


@cache
def _documents() -> tuple[Document, ...]:
    from sparkctl.nano import world

    return tuple(world.documents())


# ---- asking ----------------------------------------------------------------------------------------------------------


def tools_port(settings: Tools, memory: Memory, watch: Watch, others: Outside = outside) -> Port:
    """The eight tools. A tool that answers with an error has answered; what came to nothing is a failed call.

    `others`: opens the tools that live outside.
    """
    ports = {name: _port(name, settings, memory, watch, others) for name in TOOLS}

    def ask(requests: Sequence[Request]) -> list[Reply]:
        asked = [{"tool_name": r["tool_name"], "query": r["query"].strip()} for r in requests]
        replies: dict[int, Reply] = {}
        for name in dict.fromkeys(r["tool_name"] for r in asked):
            places = [i for i, request in enumerate(asked) if request["tool_name"] == name]
            replies |= zip(places, ports[name]([asked[i] for i in places]), strict=True)
        return [replies[i] for i in range(len(asked))]

    return ask


def _port(name: str, settings: Tools, memory: Memory, watch: Watch, others: Outside) -> Port:
    tool, recordings = settings.of(name), Recordings(memory)
    if tool.backend == "replay":
        return partial(_replayed, recordings, settings.limit, watch)
    if tool.identity().get("sandbox") == "off":
        return partial(_refused, watch)

    def box() -> Toolbox:
        opened = _box(settings, memory.path.parent / "cache", others)
        opened.open(name)  # what is missing must end the stage, before it has a thousand failed calls
        return opened

    scope = _scope(name, settings, memory)
    if tool.backend == "offline":
        port = remembered(lazy(lambda: _in_turn(box())), memory, scope, chunk=_CHUNK, watch=watch)
    else:
        several = lazy(lambda: _at_once(box(), tool.concurrency))
        port = remembered_singly(several, memory, scope, account=TOOLS_ACCOUNT, watch=watch)
    return partial(_recorded, port, tool.backend, recordings)


def _refused(watch: Watch, requests: Sequence[Request]) -> list[Reply]:
    """python_repl where it is off. That is an answer of this machine, not of the tool: neither remembered nor recorded."""
    watch(len(requests), 0)
    return [_answer(unusable(request["query"])) for request in requests]


def _in_turn(box: Toolbox) -> Port:
    return lambda requests: [_reply(box, request) for request in requests]


def _at_once(box: Toolbox, n: int) -> StreamingPort:
    """At most n calls in flight; a fault in one lets none begin after it."""

    def answered(request: Request) -> Reply:
        reply = _reply(box, request)
        at = {"recorded_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        return reply if reply.body is None else Reply(reply.body | at, None, reply.cost_usd)

    def ask(requests: Sequence[Request], arrived: Arrived) -> None:
        with ThreadPoolExecutor(n) as pool:
            calls = {pool.submit(answered, request): i for i, request in enumerate(requests)}
            try:
                for call in as_completed(calls):
                    arrived(calls[call], call.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    return ask


def _reply(box: Toolbox, request: Request) -> Reply:
    try:
        observation = box(request["tool_name"], request["query"])
    except ToolFailed as fault:
        return Reply(None, one_line(str(fault)), 0.0)
    return _answer(observation)


def _answer(observation: Observation) -> Reply:
    return Reply({"text": observation.text, "ok": observation.ok}, None, 0.0)


def _recorded(port: Port, backend: str, recordings: Recordings, requests: Sequence[Request]) -> list[Reply]:
    replies = port(requests)
    recordings.keep(_answered(requests, replies, backend))
    return replies


def _answered(requests: Sequence[Request], replies: Iterable[Reply], backend: str) -> Iterable[Recording]:
    for request, reply in zip(requests, replies, strict=True):
        if body := reply.body:
            at = body.get("recorded_at")
            yield Recording(request["tool_name"], request["query"], body["text"], body["ok"], backend, at)


def _replayed(recordings: Recordings, limit: int, watch: Watch, requests: Sequence[Request]) -> list[Reply]:
    known = recordings.recall(requests[0]["tool_name"], (r["query"] for r in requests)) if requests else {}
    watch(len(requests), len(requests))
    return [_replay(known.get(request["query"]), request, limit) for request in requests]


def _replay(recording: Recording | None, request: Request, limit: int) -> Reply:
    if recording is None:
        return Reply(None, f"no recording of {request['tool_name']} '{one_line(request['query'], 60)}'")
    return Reply({"text": one_line(recording.observation, limit), "ok": recording.observation_ok}, None, 0.0)
