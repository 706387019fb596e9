"""What must hold of the limits: an even pace under a clock that stands still, and a purse that is never overdrawn."""

import asyncio

import pytest

from sparkctl.errors import SparkError
from sparkctl.models.rate_limits import Pace, Purse


class Clock:
    """Time passes only by sleeping."""

    def __init__(self):
        self.now = 100.0

    async def sleep(self, seconds):
        self.now += seconds


def passed(per_minute, *units, before=None):
    """When each of these got through."""
    clock = Clock()
    pace, times = Pace(per_minute, lambda: clock.now, clock.sleep), []

    async def go():
        for n in units:
            await pace.take(n)
            times.append(round(clock.now - 100.0, 6))
            if before:
                before(pace, clock)

    asyncio.run(go())
    return times


def test_the_first_passes_at_once_and_the_others_evenly():
    assert passed(30, 1, 1, 1, 1) == [0, 2, 4, 6]


def test_who_took_much_makes_the_next_wait_long():
    assert passed(600, 100, 50, 1) == [0, 10, 15]


def test_units_that_were_not_used_are_given_back():
    assert passed(60, 10, 10, before=lambda pace, clock: pace.add(-4)) == [0, 6]


def test_idle_time_is_not_saved_up():
    def idle_once(pace, clock):
        clock.now = max(clock.now, 200.0)

    assert passed(60, 1, 1, 1, before=idle_once) == [0, 100, 101]


def test_without_a_limit_nobody_waits():
    assert passed(None, 1000, 1000) == [0, 0]


def test_a_purse_waits_for_calls_in_flight_and_refuses_when_there_are_none():
    """A dollar, worst cases of 0.6: the second waits until the first has cost 0.2, the third cannot."""
    order = []

    async def call(purse, name, worst, cost):
        await purse.hold(worst)
        order.append(f"{name} begins")
        await asyncio.sleep(0)
        order.append(f"{name} ends")
        await purse.settle(worst, cost)

    async def go():
        purse = Purse(1.0, spent=0.1)
        await asyncio.gather(call(purse, "a", 0.6, 0.2), call(purse, "b", 0.6, 0.6))
        assert purse.spent == pytest.approx(0.9)
        with pytest.raises(
            SparkError, match=r"budget_usd 1: \$0\.9000 was spent, and the next call may cost up to \$0\.11"
        ):
            await purse.hold(0.11)
        await purse.hold(0.1)

    asyncio.run(go())
    assert order == ["a begins", "a ends", "b begins", "b ends"]
