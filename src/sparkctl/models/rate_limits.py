"""What holds back the calls of one event loop: a rate per minute, a budget in US dollars, and a server's Retry-After.

Ours, because litellm's Router refuses a call that is over its limits (it answers "429" itself) and does not let it
wait; and it has no budget that is checked before a call.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from sparkctl.errors import SparkError


class Pace:
    """Lets no more than `per_minute` units through in a minute, evenly spread; who comes too early waits."""

    def __init__(
        self,
        per_minute: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.per_minute = per_minute
        self.clock = clock
        self.sleep = sleep
        self.free = 0.0
        """Time from which the next may pass."""

    async def take(self, units: float = 1.0) -> None:
        """Wait for one's turn."""
        if self.per_minute is None:
            return
        now = self.clock()
        turn = max(now, self.free)
        self.free = turn
        self.add(units)
        if turn > now:
            await self.sleep(turn - now)

    def add(self, units: float) -> None:
        """Count units more, or fewer, that turned out to be used."""
        if self.per_minute is not None:
            self.free += 60.0 * units / self.per_minute


class Purse:
    """Dollars that may still be spent. A call starts only if the worst that it can cost still fits."""

    def __init__(self, limit: float | None, spent: float) -> None:
        self.limit = limit
        self.spent = spent
        self.held = 0.0
        """The worst that the calls in flight can cost."""
        self.in_flight = 0
        self.settled = asyncio.Condition()

    async def hold(self, worst: float) -> None:
        """Wait until calls in flight have cost less than they could; refuse once none is left to wait for."""
        if self.limit is None:
            return
        async with self.settled:
            while self.spent + self.held + worst > self.limit:
                if not self.in_flight:
                    raise SparkError(
                        f"judge.budget_usd {self.limit:g}: ${self.spent:.4f} was spent, and the next call may cost up to "
                        f"${worst:.4f}; all replies so far are kept: go on with a larger --set judge.budget_usd=..."
                    )
                await self.settled.wait()
            self.held += worst
            self.in_flight += 1

    async def settle(self, worst: float, cost: float) -> None:
        """A call of this worst case is over and has cost this much."""
        if self.limit is None:
            return
        async with self.settled:
            self.held -= worst
            self.in_flight -= 1
            self.spent += cost
            self.settled.notify_all()
