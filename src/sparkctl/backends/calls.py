"""Calls through litellm, several in flight: what judges and served policies have in common."""

import asyncio
import os
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import cache
from typing import Any

from sparkctl.ports import Request

Todo = Iterator[tuple[int, Request]]
"""What is left to ask, with each request's place; shared by all workers."""

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


def router(model: str, retries: int, **options: Any) -> Any:
    """litellm's Router over one deployment: it retries with back-off and honours Retry-After."""
    return litellm().Router(
        model_list=[{"model_name": model, "litellm_params": {"model": model, **options}}],
        num_retries=retries,
        # There is no other deployment to turn to: a cooled-down one would only fail calls that could wait.
        disable_cooldowns=True,
    )


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end in an event loop of its own, and give back litellm's connections."""
    litellm()  # first: whatever else of it is imported would ask the network for prices
    with warnings.catch_warnings():
        # Ctrl-C leaves coroutines of litellm that had not begun; that is no news to who pressed it.
        warnings.filterwarnings("ignore", r"coroutine .* was never awaited", RuntimeWarning)
        asyncio.run(_closing(work))


async def _closing(work: Awaitable[None]) -> None:
    from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients

    try:
        await work
    finally:
        # Those of a closed event loop would be found by the next.
        await close_litellm_async_clients()
        litellm().in_memory_llm_clients_cache.flush_cache()


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
