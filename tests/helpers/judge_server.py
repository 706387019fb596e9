"""A judge on loopback that speaks OpenAI's chat API, and misbehaves where the question tells it to.

Run: python tests/helpers/judge_server.py [--latency SECONDS]; it prints its port. A process of its own: it goes on when the
client is killed, and counts what a provider would bill. The question's text says what goes wrong: `fault=NAME`, once
(only at the first attempt, or until it is re-asked) or `fault=always_NAME`.
Each reason holds the digest of the call that it answers, so that a test can say which replies were kept.
"""

import argparse
import asyncio
import hashlib
import json
import re
import signal
from collections import Counter
from typing import Any

from aiohttp import web

ANSWERS = ("not_json", "wrong_schema", "missing", "eleven", "empty")
"""Faults of the answer: mended by a re-ask."""
CALLS = ("busy", "broken", "hang", "cut", "refused")
"""Faults of the call: mended by a retry."""
USAGES: dict[str, Any] = {
    "untold": None,
    "negative": {"prompt_tokens": -5, "completion_tokens": 10, "total_tokens": 5},
    "nothing": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    "huge": {"prompt_tokens": 10**12, "completion_tokens": 10, "total_tokens": 10**12 + 10},
}
"""Counts of tokens that cannot be true, beside good answers."""
ODD: dict[str, Any] = {
    "unanswered": [],
    "endless": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x" * 1_000_001}}],
}
"""Answers that hold nothing to read."""


class Judge:
    """What was asked, what was paid, and how many calls were in flight at once."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.asked: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self.begun: list[float] = []
        self.last: dict[str, Any] = {}
        self.healed = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.begun.append(asyncio.get_running_loop().time())
        try:
            return await self._answer(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.last = body = await request.json()
        messages = body["messages"]
        call = hashlib.sha256(json.dumps(messages).encode()).hexdigest()[:16]
        self.asked[call] += 1
        if len(messages) == 1:  # doctor, who only wants to know whether anybody is there
            self.paid[call] += 1
            return web.json_response(completion(body, "1"))
        case = json.loads(messages[1]["content"])
        found = None if self.healed else re.search(r"fault=(always_)?(\w+)", case["question"])
        always, fault = (bool(found[1]), found[2]) if found else (False, "")
        if fault in CALLS and (always or self.asked[call] == 1):
            return await self._fail(request, fault)
        # From half to one and a half of it, the same for the same call: with one latency for all, calls march in step.
        await asyncio.sleep(self.latency * (0.5 + int(call[:4], 16) / 0xFFFF))
        self.paid[call] += 1
        spoilt = fault if fault in ANSWERS and (always or len(messages) == 2) else ""
        reply = completion(body, written(case, call, spoilt))
        if fault in USAGES:
            reply["usage"] = USAGES[fault]
        if fault in ODD:
            reply["choices"] = ODD[fault]
        return web.json_response(reply)

    async def _fail(self, request: web.Request, fault: str) -> web.StreamResponse:
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "cut":
            assert request.transport is not None
            request.transport.abort()
        if fault == "busy":
            return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "1"})
        if fault == "refused":
            told = {"error": {"message": f"Incorrect API key provided: {request.headers.get('Authorization')}"}}
            return web.json_response(told, status=401)
        # A server that tells what it should not: the key that it was given.
        told = {"error": {"message": f"broken for {request.headers.get('Authorization')}"}}
        return web.json_response(told, status=500)

    async def seen(self, request: web.Request) -> web.Response:
        """GET /seen: everything that was counted."""
        names = ("asked", "paid", "in_flight", "most_in_flight", "begun", "last")
        return web.json_response({name: getattr(self, name) for name in names})

    async def count(self, request: web.Request) -> web.Response:
        """GET /count: how many calls were paid."""
        return web.json_response(self.paid.total())

    async def heal(self, request: web.Request) -> web.Response:
        """POST /heal: nothing goes wrong any more, until it is told to forget."""
        self.healed = True
        return web.json_response({})

    async def forget(self, request: web.Request) -> web.Response:
        """POST /forget: start counting anew."""
        self.__init__(self.latency)  # type: ignore[misc]
        return web.json_response({})


def written(case: dict[str, Any], call: str, spoilt: str) -> str:
    """The answer to a case: scores by digest, whole or spoilt."""
    scores = {
        c["tool_name"]: {"score": score(case["question"], c["tool_name"]), "reason": f"call {call}"}
        for c in case["candidates"]
    }
    if spoilt == "missing":
        scores.popitem()
    if spoilt == "eleven":
        scores[case["candidates"][0]["tool_name"]]["score"] = 11
    whole = json.dumps({"scores": list(scores.values())} if spoilt == "wrong_schema" else scores)
    return {"not_json": "eight of ten, I would say", "empty": ""}.get(spoilt, whole)


def score(question: str, tool: str) -> int:
    """0 to 10, the same for the same question and tool."""
    return hashlib.sha256(f"{question} {tool}".encode()).digest()[0] % 11


def completion(body: dict[str, Any], content: str) -> dict[str, Any]:
    """The reply's body. Tokens are counted as four characters each, so that a test can work out the price."""
    tokens = [sum(len(m["content"]) for m in body["messages"]) // 4, len(content) // 4]
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }


async def serve(latency: float) -> None:
    """Until the process is ended."""
    judge = Judge(latency)
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/chat/completions", judge.answer)
    app.router.add_get("/seen", judge.seen)
    app.router.add_get("/count", judge.count)
    app.router.add_post("/forget", judge.forget)
    app.router.add_post("/heal", judge.heal)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    print(site._server.sockets[0].getsockname()[1], flush=True)  # type: ignore[attr-defined]
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0, help="mean seconds until an answer")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(serve(parser.parse_args().latency))
