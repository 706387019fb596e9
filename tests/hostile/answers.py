"""Kinds of answers that are parsed: of judges, policy servers, MCP servers, live tools. One server in this process lies.

A damaged answer is a failed call with its error, or it does no harm: never a zero, never another score, and it ends in time.
"""

import json
import math
import os
import random
import re
import shutil
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, NamedTuple
from unittest import mock

import pyarrow.parquet as pq

from helpers.command_line import sparkctl
from hostile.damage import damaged
from hostile.files import Kind, Tried, ended_well
from hostile.oracle import LIMIT_S, TooLong, Verdict, described, limited, verdict
from hostile.shapes import reshaped, written
from hostile.world import SETTINGS, World
from sparkctl.errors import SparkError
from sparkctl.models import loading
from sparkctl.pipeline.ports.tools import Live
from sparkctl.tools import mcp_server
from sparkctl.tools.live import open, service
from sparkctl.tools.observation import Observation, ToolFailed
from sparkctl.tools.settings import Mcp


class Sent(NamedTuple):
    """A response."""

    body: bytes
    kind: str = "application/json"
    status: int = 200


class Liar(ThreadingHTTPServer):
    """Answers with what `answer` makes of a path and a body."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Callable[[str, bytes], Sent] = lambda path, body: Sent(b"", status=404)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up has had enough


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Liar

    def do_POST(self) -> None:
        sent = self.server.answer(self.path, self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.send_response(sent.status)
        self.send_header("Content-Type", sent.kind)
        self.send_header("Content-Length", str(len(sent.body)))
        self.end_headers()
        self.wfile.write(sent.body)

    do_GET = do_DELETE = do_POST

    def log_message(self, *parts: Any) -> None:
        pass


class Lie(NamedTuple):
    """How an answer is damaged: `at` are the keys that lead to what was changed, None where its bytes were."""

    what: str
    sent: Sent
    at: tuple[Any, ...] | None


STATUSES = (201, 204, 301, 400, 404, 408, 413, 418, 429, 500, 503, 529)


def lie(rng: random.Random, sound: Any, kind: str = "application/json") -> Lie:
    """An answer in JSON, damaged in its shape, its bytes or its frame."""
    how = rng.random()
    if how < 0.6:
        shape = reshaped(rng, sound)
        return Lie(shape.what, Sent(shape.data, kind), shape.at)
    if how < 0.85:
        what, data = damaged(rng, written(sound))
        return Lie(what, Sent(data, kind), None)
    if how < 0.95:
        status = rng.choice(STATUSES)
        return Lie(f"status {status}", Sent(written(sound), kind, status), None)
    return Lie("a web page", Sent(b"<html>busy</html>", "text/html"), None)


# ---- the judge -------------------------------------------------------------------------------------------------------


class Judge(Kind):
    """A judge's answers: the frame of the provider, the usage, the scores."""

    name = "judge's answers"
    needs_run = True
    weight = 8

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.server, self.data, self.out = Liar(), self.folder / "data", self.folder / "out"
        made = world.made / "default"
        reads = (
            "--read",
            f"candidates={made / 'candidates.1.parquet'}",
            "--read",
            f"questions={made / 'questions.parquet'}",
        )
        knobs = {"model": "openai/gpt-4o", "retries": 0, "max_failed": 1.0, "timeout_s": 5}
        sets = [word for name, value in knobs.items() for word in ("--set", f"judge.{name}={value}")]
        self.args = ["judge", "--step", "1", *reads, "--write", self.out, "--data", self.data, *SETTINGS, *sets]
        self.environment = {"OPENAI_API_BASE": f"{self.server.url}/v1", "OPENAI_API_KEY": "none-needed"}
        self.sound: dict[Any, float] = {}
        self.server.answer = lambda path, body: Sent(written(_envelope(_scores(body))))
        with mock.patch.dict(os.environ, self.environment):
            ended_well(sparkctl(*self.args))
        self.sound = {key: row["score"] for key, row in self.rows().items()}
        assert None not in self.sound.values()

    def rows(self) -> dict[Any, Any]:
        found = pq.ParquetFile(self.out).read().to_pylist()
        self.out.unlink()
        return {(row["rollout_id"], row["tool_name"]): row for row in found}

    def attempt(self, rng: random.Random) -> Tried:
        seed, of_scores = rng.random(), rng.random() < 0.5
        told: list[Lie] = []
        allowed: dict[str, set[float]] = {}

        def answer(path: str, body: bytes) -> Sent:
            scores, again = _scores(body), random.Random(seed)
            if of_scores:
                shape = reshaped(again, scores) if again.random() < 0.7 else None
                what, data = (shape.what, shape.data) if shape else damaged(again, written(scores))
                told.append(Lie(f"scores: {what}", Sent(written(_envelope(data.decode("latin-1")))), None))
                for tool, score in _readable(data.decode("latin-1")).items():
                    allowed.setdefault(tool, set()).add(score)
            else:
                told.append(lie(again, _envelope(scores)))
            return told[-1].sent

        self.server.answer = answer
        shutil.rmtree(self.data, ignore_errors=True)
        with mock.patch.dict(os.environ, self.environment):
            found = verdict(
                self.args, lambda done: self._harm(allowed), "", names=("judge",), clean=self.folder, warns=True
            )
        self.out.unlink(missing_ok=True)
        return Tried(told[0].what if told else "nothing asked", found)

    def _harm(self, allowed: dict[str, set[float]]) -> str:
        """What is wrong with the scores; '' where each is the sound one, the one that was sent, or null with an error."""
        for key, row in self.rows().items():
            score, cost = row["score"], row["cost_usd"]
            if score is None and not row["error"]:
                return f"{key} has neither score nor error"
            if score is not None and score != self.sound[key] and score not in allowed.get(key[1], ()):
                return f"{key} has the score {score}, which nobody gave; {self.sound[key]} was meant"
            if cost is not None and not 0 <= cost < 1:
                return f"{key} cost {cost}"
        return ""


def _scores(body: bytes) -> dict[str, Any]:
    """What a sound judge says: from 1 to 9, by the tool's name."""
    case = json.loads(json.loads(body)["messages"][1]["content"])
    return {c["tool_name"]: {"score": 1 + len(c["tool_name"]) % 9, "reason": "so"} for c in case["candidates"]}


def _readable(text: str) -> dict[str, float]:
    """Tool -> the score that is sent, where it is one."""
    try:
        found = json.loads(text[text.index("{") : text.rindex("}") + 1])
        given = {tool: value["score"] for tool, value in found.items() if isinstance(value, dict) and "score" in value}
    except (ValueError, AttributeError, RecursionError):
        return {}
    return {tool: s for tool, s in given.items() if type(s) in (int, float) and 0 <= s <= 10}


def _envelope(content: Any) -> dict[str, Any]:
    text = content if isinstance(content, str) else json.dumps(content)
    message = {"role": "assistant", "content": text}
    return {
        **{"id": "x", "object": "chat.completion", "created": 0, "model": "gpt-4o"},
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 700, "completion_tokens": 90, "total_tokens": 790},
    }


# ---- a served policy -------------------------------------------------------------------------------------------------


class Policy(Kind):
    """Completions of a server that takes and gives token ids."""

    name = "policy server's answers"
    needs_run = True
    weight = 5

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.server, self.data, self.out = Liar(), self.folder / "data", self.folder / "out"
        questions = world.made / "default" / "questions.parquet"
        knobs = {
            "engine": "litellm",
            "max_failed": 1.0,
            "litellm.api_base": f"{self.server.url}/v1",
            "litellm.retries": 0,
        }
        sets = [word for name, value in knobs.items() for word in ("--set", f"synth.{name}={value}")]
        sets += ["--set", "synth.litellm.timeout_s=5", "--set", "eval.engine=transformers"]
        given = ["--read", f"questions={questions}", "--write", self.out, "--data", self.data]
        self.args = ["synth", "--step", "1", *given, *SETTINGS, *sets]
        self.vocabulary = len(loading.open_tokenizer(loading.NANO))
        self.server.answer = lambda path, body: Sent(written(_completed(path, body)))
        ended_well(sparkctl(*self.args))
        self.sound = self.rows()

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.ParquetFile(self.out).read().to_pylist()
        self.out.unlink()
        return found

    def attempt(self, rng: random.Random) -> Tried:
        seed = rng.random()
        told: list[Lie] = []

        def answer(path: str, body: bytes) -> Sent:
            sound = _completed(path, body)
            if path.endswith("/models"):
                return Sent(written(sound))
            told.append(lie(random.Random(seed), sound))
            return told[-1].sent

        self.server.answer = answer
        shutil.rmtree(self.data, ignore_errors=True)
        found = verdict(
            self.args, lambda done: self._harm(), "", names=("synth.litellm", "synth:"), clean=self.folder, warns=True
        )
        self.out.unlink(missing_ok=True)
        return Tried(told[0].what if told else "nothing asked", found)

    def _harm(self) -> str:
        """What is wrong with a row that neither failed nor is well formed."""
        for row in self.rows():
            if row["error"]:
                continue
            for part in ("thought", "action"):
                ids, logprobs = row[f"{part}_ids"], row[f"{part}_logprobs"]
                if len(ids) != len(logprobs):
                    return f"{len(ids)} {part}_ids and {len(logprobs)} log-probs"
                if not all(0 <= i < self.vocabulary for i in ids):
                    return f"{part}_ids {ids} are no tokens"
                if not all(math.isfinite(p) and p <= 0 for p in logprobs):
                    return f"{part}_logprobs {logprobs} are none"
        return ""


def _completed(path: str, body: bytes) -> dict[str, Any]:
    if path.endswith("/models"):
        return {"object": "list", "data": [{"id": "nano", "object": "model", "created": 0, "owned_by": "x"}]}
    asked = json.loads(body)
    prompt, sampled = asked["prompt"], [40, 41, 42]
    choice: dict[str, Any] = {"index": 0, "text": "abc", "finish_reason": "stop", "token_ids": sampled}
    choice["logprobs"] = {"token_logprobs": [-0.5] * len(sampled), "tokens": ["a"] * len(sampled)}
    if "prompt_logprobs" in asked:
        choice["prompt_logprobs"] = [None, *({str(token): {"logprob": -0.25, "rank": 1}} for token in prompt[1:])]
    usage = {"prompt_tokens": len(prompt), "completion_tokens": 3, "total_tokens": len(prompt) + 3}
    return {"id": "x", "object": "text_completion", "created": 0, "model": "nano", "choices": [choice], "usage": usage}


# ---- tools -----------------------------------------------------------------------------------------------------------


def observed(ask: Callable[[], Observation], sound: Observation, *, other: bool) -> Verdict:
    """Call a tool and judge what it says. `other`: what was changed is what the tool says, or may say."""
    try:
        with limited():
            found = ask()
    except TooLong:
        return Verdict("bad", f"no end after {LIMIT_S} s")
    except (ToolFailed, SparkError) as fault:
        return (
            Verdict("refused", str(fault)) if len(str(fault).splitlines()) == 1 else Verdict("bad", f"lines: {fault}")
        )
    except Exception as fault:  # what we look for
        return Verdict("bad", described(fault))
    if found == sound:
        return Verdict("same")
    return Verdict("other") if other else Verdict("bad", f"another answer without a word: {found} instead of {sound}")


class McpServer(Kind):
    """What an MCP server says of itself, of its tools, and as a tool."""

    name = "MCP server's answers"
    weight = 4

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.server = Liar()
        self.settings = Mcp(url=f"{self.server.url}/mcp", tool="look_up", argument="query")
        self.server.answer = lambda path, body: _rpc(body, lambda method, sound: Sent(written(sound)))
        self.sound = self._asked(mcp_server.OPENING_S)
        assert self.sound == Observation("found it")

    def _asked(self, opening_s: float = 3.0) -> Observation:
        # An answer to nobody's question is waited for; half a minute as in use would take most of the fuzzer's time.
        with mock.patch.object(mcp_server, "OPENING_S", opening_s):
            tool = mcp_server.open_mcp(self.settings, timeout_s=2)
        try:
            return tool("what")
        finally:
            tool.close()

    def attempt(self, rng: random.Random) -> Tried:
        target, seed = rng.choice(("initialize", "tools/list", "tools/call", "tools/call")), rng.random()
        told: list[Lie] = []

        def lying(method: str, sound: Any) -> Sent:
            if method == target:
                told.append(lie(random.Random(seed), sound))
            return told[-1].sent if method == target else Sent(written(sound))

        self.server.answer = lambda path, body: _rpc(body, lying)
        found = observed(self._asked, self.sound, other=target == "tools/call")
        return Tried(f"{target}: {told[0].what if told else 'not asked'}", found)


def _rpc(body: bytes, answer: Callable[[str, Any], Sent]) -> Sent:
    if not body:
        return Sent(b"", status=405)  # no stream of events
    asked = json.loads(body)
    schema = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
    results: dict[str, Any] = {
        "initialize": {
            "protocolVersion": asked.get("params", {}).get("protocolVersion"),
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": {"name": "liar", "version": "1"},
        },
        "tools/list": {"tools": [{"name": "look_up", "description": "looks up", "inputSchema": schema}]},
        "tools/call": {"content": [{"type": "text", "text": "found it"}], "isError": False},
    }
    if "id" not in asked:
        return Sent(b"", status=202)
    if asked["method"] not in results:
        error = {"code": -32601, "message": "Method not found"}
        return Sent(written({"jsonrpc": "2.0", "id": asked["id"], "error": error}))
    return answer(asked["method"], {"jsonrpc": "2.0", "id": asked["id"], "result": results[asked["method"]]})


_PAGES = [
    {"pageid": 2, "ns": 0, "title": "Paris, Texas", "index": 2, "extract": "A city in Texas."},
    {"pageid": 1, "ns": 0, "title": "Paris", "index": 1, "extract": "The capital of France."},
]
_PAPER = {
    "paperId": "1",
    "title": "Attention",
    "year": 2017,
    "abstract": "We",
    "tldr": {"model": "m", "text": "Suffices."},
}
_WOLFRAM = 'Query:\n"1 mile in km"\n\nResult:\n1.609 km\n\nWolfram|Alpha website result for "1 mile":\nhttps://x'
_ROW = (
    '<div class="result__body"><h2><a href="https://e.org/1">Title</a></h2><a href="https://e.org/1">Snippet</a></div>'
)
SERVICES: dict[str, Any] = {
    "wikipedia": {"batchcomplete": True, "query": {"pages": _PAGES}},
    "search": {"query": "x", "results": [{"url": "https://e.org", "title": "First", "content": "One."}], "answers": []},
    "semantic_scholar": {"total": 1, "offset": 0, "data": [_PAPER]},
    "wolfram_alpha": _WOLFRAM,
    "a search page": f"<html><body>{_ROW}</body></html>",
}
_SAID = re.compile("title|extract|index|content|year|abstract|tldr|text|pageprops")
"""Keys whose values are the answer, or decide which it is."""


class LiveTools(Kind):
    """What the services of the live tools send."""

    name = "live tools' answers"
    weight = 6

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.server = Liar()
        self.environment: ClassVar = {"WOLFRAM_APP_ID": "none-needed"}
        self.sounds = {}
        for name, sound in SERVICES.items():
            self.server.answer = lambda path, body, sound=sound: _served(sound)  # type: ignore[misc]
            self.sounds[name] = self._asked(name)
            assert self.sounds[name].ok, name

    def _asked(self, name: str) -> Observation:
        quick = mock.patch.multiple(service, BACKOFF_S=0.005, MAX_WAIT_S=0.0)
        with mock.patch.dict(os.environ, self.environment), quick:
            page = name == "a search page"
            settings = Live(url=None if page else self.server.url, min_interval_s=0.0, contact=None, hits=3)
            tool: Any = open.open_live("search" if page else name, settings, timeout_s=3)
            if page:  # its engines are elsewhere: asked are they here
                tool._http.close()
                tool._http = service.PublicHttp(own=self.server.url, timeout_s=3, user_agent="test")
                get = tool._http.get
                tool._http.get = lambda url, parameters, secrets: get(self.server.url, parameters, secrets)
            try:
                return tool("what is it")  # type: ignore[no-any-return]
            finally:
                tool.close()

    def attempt(self, rng: random.Random) -> Tried:
        name = rng.choice(sorted(SERVICES))
        sound = SERVICES[name]
        if isinstance(sound, str):
            what, data = damaged(rng, sound.encode())
            told = Lie(what, _served(sound)._replace(body=data), None)
        else:
            told = lie(rng, sound)
        fewer = (
            bool(told.at) and isinstance(told.at[-1], int) and told.what.endswith("gone")
        )  # one hit less is an answer
        other = isinstance(sound, str) or told.at is None or fewer or bool(_SAID.search("/".join(map(str, told.at))))
        self.server.answer = lambda path, body: told.sent
        return Tried(f"{name}: {told.what}", observed(lambda: self._asked(name), self.sounds[name], other=other))


def _served(sound: Any) -> Sent:
    if not isinstance(sound, str):
        return Sent(written(sound))
    return Sent(sound.encode(), "text/html" if sound.startswith("<") else "text/plain; charset=utf-8")


ANSWER_KINDS: list[type[Kind]] = [Judge, Policy, McpServer, LiveTools]
