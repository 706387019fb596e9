"""Requests per second of our judge against what the server gives to bare clients, in one run on loopback.

Run: python benchmarks/judge_throughput.py [--calls 1000] [--in-flight 16] [--latency 0.2] [--json FILE]
The server (tests/helpers/judge_server.py) is a process of its own and answers after `latency` seconds on average, evenly
spread from half to one and a half of it (hosted judges take longer). Bare clients send the same bodies, read the JSON and do nothing else: httpx with one
connection per call in flight (its shared pool is slow with many connections), and aiohttp. The ceiling is the faster
of them. Ours is all that `sparkctl judge` does per call: litellm, schema, checks, price, memory on disk. `acompletion` is
litellm by itself, with the same words: what nothing of ours can pass in one process.
`cpu_ms_per_call` is processor time of this process, of the best round: unlike the rates it says something on a busy
machine, too. One core gives at most 1000 / cpu_ms_per_call calls a second.
"""

import argparse
import asyncio
import json
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import aiohttp  # noqa: E402
import httpx  # noqa: E402

from helpers.judge_client import Server, reached, serving, states  # noqa: E402
from sparkctl.method.ports import Request  # noqa: E402
from sparkctl.models import litellm_calls  # noqa: E402
from sparkctl.models.litellm_judge import LitellmJudge, answer_format  # noqa: E402
from sparkctl.stages import judge  # noqa: E402
from sparkctl.storage.memory import Memory, remembered_singly  # noqa: E402

MODEL = "openai/gpt-4o"
ROUNDS = 3
"""Clients take turns this often; the best of each counts: other work on the machine only ever slows."""


def requests(calls: int) -> list[Request]:
    """As a run would ask: nine candidates, the rubric of the recipe."""
    questions, candidates = states([""] * calls)
    settings = judge.Judge(model=MODEL, prompt=(ROOT / "stages" / "judge.md").read_text())
    return judge.requests({"questions": questions, "candidates": candidates}, settings)


def body(request: Request) -> dict[str, Any]:
    """What our judge sends for a request."""
    sent = {name: request[name] for name in ("messages", "temperature", "max_tokens")}
    return sent | {"model": MODEL.partition("/")[2], "response_format": answer_format(request["tools"])}


async def drive(post: Callable[[int, dict[str, Any]], Awaitable[Any]], bodies: list[Any], in_flight: int) -> None:
    """Post all, with this many at once."""
    todo: Iterator[Any] = iter(bodies)

    async def work(worker: int) -> None:
        for sent in todo:
            await post(worker, sent)

    await asyncio.gather(*(work(i) for i in range(in_flight)))


async def by_httpx(server: Server, bodies: list[Any], in_flight: int) -> None:
    """One client, and so one connection, per call in flight."""
    clients = [httpx.AsyncClient(timeout=60) for _ in range(in_flight)]

    async def post(worker: int, sent: Any) -> None:
        (await clients[worker].post(server.url, json=sent)).json()

    await drive(post, bodies, in_flight)
    for client in clients:
        await client.aclose()


async def by_aiohttp(server: Server, bodies: list[Any], in_flight: int) -> None:
    """One session with a pool."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:

        async def post(worker: int, sent: Any) -> None:
            async with session.post(server.url, json=sent) as reply:
                await reply.json()

        await drive(post, bodies, in_flight)


async def by_acompletion(asked: list[Request], in_flight: int) -> None:
    """litellm as our judge calls it, and nothing around it."""
    ask = litellm_calls.litellm().acompletion

    async def post(_: int, request: Request) -> None:
        sent = body(request) | {"model": MODEL, "timeout": 60, "max_retries": 0}
        await ask(**sent)

    await drive(post, asked, in_flight)


def by_ours(asked: list[Request], in_flight: int) -> None:
    """Our port with an empty memory."""
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory(Path(folder) / "memory.sqlite")
        port = remembered_singly(
            LitellmJudge(MODEL, concurrency=in_flight, timeout_s=60), memory, "benchmark", account="judge"
        )
        replies = port(asked)
        memory.close()
    assert not [reply.error for reply in replies if reply.error]


def timed(work: Callable[[], None], calls: int) -> tuple[float, float]:
    """(calls per second, milliseconds of this process's processors per call)."""
    begun, cpu = time.perf_counter(), time.process_time()
    work()
    return calls / (time.perf_counter() - begun), 1000 * (time.process_time() - cpu) / calls


def measure(calls: int, in_flight: int, latency: float) -> dict[str, Any]:
    """The best of some rounds for each client, and their ratio."""
    asked = requests(calls)
    bodies = [body(request) for request in asked]
    with serving(latency) as server, reached(server):
        ways: dict[str, Callable[[], None]] = {
            "httpx": lambda: asyncio.run(by_httpx(server, bodies, in_flight)),
            "aiohttp": lambda: asyncio.run(by_aiohttp(server, bodies, in_flight)),
            "acompletion": lambda: litellm_calls.run(by_acompletion(asked, in_flight)),
            "ours": lambda: by_ours(asked, in_flight),
        }
        by_ours(asked[:in_flight], in_flight)  # imports litellm
        rounds = [{name: timed(way, calls) for name, way in ways.items()} for _ in range(ROUNDS)]
    best = {name: max(found[name][0] for found in rounds) for name in ways}
    cpu = {name: min(found[name][1] for found in rounds) for name in ways}
    return {
        "calls": calls, "in_flight": in_flight, "latency_s": latency,
        "per_second": {name: round(rate, 1) for name, rate in best.items()},
        "cpu_ms_per_call": {name: round(ms, 2) for name, ms in cpu.items()},
        "ratio": round(best["ours"] / max(best["httpx"], best["aiohttp"]), 3),
        "over_httpx": round(best["ours"] / best["httpx"], 3),
        "over_acompletion": round(best["ours"] / best["acompletion"], 3),
    }  # fmt: skip


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, default=16, help="the recipe's default")
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = measure(given.calls, given.in_flight, given.latency) | {
        "machine": platform.processor() or platform.machine()
    }
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
