"""Calls through litellm, several in flight: what judges and served policies have in common."""

import asyncio
import os
import random
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import count
from typing import Any, TypeVar

from sparkctl.method.ports import Request
from sparkctl.method.retry_after import retry_after

Answer = TypeVar("Answer")

Todo = Iterator[tuple[int, Request]]
"""What is left to ask, with each request's place; shared by all workers."""

BACKOFF_S, MAX_BACKOFF_S, JITTER_S = 0.5, 8.0, 0.75
"""Seconds before the second try, before a late one, and at most more by chance: as OpenAI's client and litellm wait."""
MAX_WAIT_S = 60.0
"""Seconds that a Retry-After may ask for; who asks for more, such as the rest of a day, is not waited for."""
GRACE_S = 10.0
"""Seconds beyond its time limit after which a try is cut off: litellm's first call imports much."""
PASSING = frozenset({408, 409, 429})
"""What may pass by itself, besides faults of the server (500 and above): timeout, lock, rate limit."""

_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_SHORTEST_SECRET = 6


@cache
def litellm() -> Any:
    """The library, quiet, and with its own list of prices."""
    # It asks the network for prices when it is imported, unless told to use its own list.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm as library

    library.suppress_debug_info = True
    library.telemetry = False
    return library


async def tried(
    call: Callable[[], Awaitable[Answer]],
    *,
    retries: int,
    timeout_s: float,
    turn: Callable[[], Awaitable[None]],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Answer:
    """What a call gives at its first or a further try; each waits for its `turn` and ends soon after `timeout_s`.

    Raises what the last try raised, at once where another could not mend it.
    """
    for failed in count():
        await turn()
        try:
            # litellm's own limit is on each read: a server that drips a byte now and then would never reach it.
            async with asyncio.timeout(timeout_s + GRACE_S):
                return await call()
        except Exception as fault:
            if failed >= retries or not _passes(fault):
                raise
            pause = pause_s(fault, failed)
        await sleep(pause)
    raise AssertionError("unreachable")


def _passes(fault: Exception) -> bool:
    """Whether another try may do better: not where the provider understood and refused. What has no status broke on
    its way."""
    status = getattr(fault, "status_code", None)
    return status is None or status in PASSING or status >= 500


def pause_s(fault: Exception, failed: int) -> float:
    """Seconds until the next try, after this many failed before: as the provider asks, else twice as long each time."""
    told = _told_to_wait(fault)
    pause = told if told is not None and 0 < told <= MAX_WAIT_S else min(BACKOFF_S * 2**failed, MAX_BACKOFF_S)
    return pause + random.uniform(0, JITTER_S)  # calls that failed together should not come again together


def _told_to_wait(fault: Exception) -> float | None:
    """Seconds, as Retry-After says; litellm leaves the headers here or there, as the provider is."""
    for headers in (getattr(fault, "litellm_response_headers", None), _headers_of(fault)):
        if isinstance(headers, Mapping) and (told := retry_after(headers.get("retry-after"))) is not None:
            return told
    return None


def _headers_of(fault: Exception) -> Any:
    return getattr(getattr(fault, "response", None), "headers", None)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end in an event loop of its own, and give back litellm's connections."""
    litellm()  # first: whatever else of it is imported would ask the network for prices
    with warnings.catch_warnings():
        # Ctrl-C leaves coroutines of litellm that had not begun; that is no news to who pressed it.
        warnings.filterwarnings("ignore", r"coroutine .* was never awaited", RuntimeWarning)
        asyncio.run(_closing(work))


async def _closing(work: Awaitable[None]) -> None:
    try:
        await work
    finally:
        # Connections of a closed event loop would be found by the next. Both names are litellm's own at its top level;
        # where one is gone, connections are left to the garbage collector.
        library = litellm()
        with suppress(AttributeError):
            await library.close_litellm_async_clients()
        with suppress(AttributeError):
            library.in_memory_llm_clients_cache.flush_cache()


async def share_out(requests: Sequence[Request], workers: int, work: Callable[[Todo], Awaitable[None]]) -> None:
    """As many workers as may be in flight take one request after the other, until none is left or one of them fails."""
    todo = ((i, request) for i, request in enumerate(requests))

    async def worker() -> None:
        try:
            await work(todo)
        except BaseException:
            todo.close()  # the others end what they have in flight, and take no more
            raise

    ended = await asyncio.gather(*(worker() for _ in range(min(workers, len(requests)))), return_exceptions=True)
    for fault in ended:
        if fault is not None:
            raise fault


def line(fault: BaseException) -> str:
    """The first line of an error, without litellm's prefixes and without any secret of the environment."""
    text = (str(fault).strip().splitlines() or [""])[0].rpartition("Exception - ")[2]
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and any(word in name.upper() for word in _SECRET):
            text = text.replace(value, f"({name})")
    return text[:300]
