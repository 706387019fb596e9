"""What must hold of calls that fail: which are tried again, how often, after how long, and each in its turn."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from sparkctl.models import litellm_calls


class Fault(Exception):
    """As litellm raises them: a status, and headers in one of two places."""

    def __init__(self, status=None, told=None, place="litellm_response_headers"):
        super().__init__("no")
        if status is not None:
            self.status_code = status
        headers = {} if told is None else {"retry-after": told}
        setattr(self, place, headers if place == "litellm_response_headers" else SimpleNamespace(headers=headers))


def tries(faults, retries, timeout_s=60.0):
    """(what came of it, turns taken, seconds slept) where tries fail in this order and the one after them succeeds."""
    left, turns, slept = list(faults), [], []

    async def call():
        if left:
            raise left.pop(0)
        return "answer"

    async def turn():
        turns.append(len(left))

    async def sleep(seconds):
        slept.append(seconds)

    try:
        came = asyncio.run(litellm_calls.tried(call, retries=retries, timeout_s=timeout_s, turn=turn, sleep=sleep))
    except Fault as fault:
        came = fault
    return came, turns, slept


@pytest.fixture(autouse=True)
def no_chance(monkeypatch):
    monkeypatch.setattr(litellm_calls.random, "uniform", lambda low, high: low)


@pytest.mark.parametrize("status", [None, 408, 409, 429, 500, 503, 529])
def test_what_may_pass_is_tried_again_and_each_try_waits_for_its_turn(status):
    assert tries([Fault(status)] * 2, retries=2) == ("answer", [2, 1, 0], [0.5, 1.0])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_the_provider_refuses_is_not_tried_again(status):
    came, turns, slept = tries([Fault(status)], retries=5)
    assert (came.status_code, turns, slept) == (status, [1], [])


def test_no_more_tries_than_set_and_the_last_fault_is_told():
    faults = [Fault(500), Fault(502), Fault(503)]
    came, turns, slept = tries(faults, retries=2)
    assert (came, turns, slept) == (faults[2], [3, 2, 1], [0.5, 1.0])


def test_pauses_double_up_to_eight_seconds():
    assert [litellm_calls.pause_s(Fault(500), failed) for failed in range(6)] == [0.5, 1, 2, 4, 8, 8]


def test_calls_that_failed_together_do_not_come_again_together(monkeypatch):
    monkeypatch.setattr(litellm_calls.random, "uniform", lambda low, high: high)
    assert litellm_calls.pause_s(Fault(500), 0) == 0.5 + 0.75
    assert litellm_calls.pause_s(Fault(429, "3"), 0) == 3 + 0.75


@pytest.mark.parametrize("place", ["litellm_response_headers", "response"])
@pytest.mark.parametrize(
    ("told", "waited"), [("7", 7), ("60", 60), ("61", 0.5), ("86400", 0.5), ("0", 0.5), ("-3", 0.5), ("soon", 0.5)]
)
def test_a_server_that_says_when_is_waited_for_a_minute_at_most(told, waited, place):
    assert tries([Fault(429, told, place)], retries=1) == ("answer", [1, 0], [waited])


def test_a_call_that_never_ends_is_cut_off_soon_after_its_limit(monkeypatch):
    """A server that drips a byte now and then never reaches the client's own limit."""
    monkeypatch.setattr(litellm_calls, "GRACE_S", 0.05)

    async def turn():
        pass

    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(
            asyncio.wait_for(litellm_calls.tried(asyncio.Event().wait, retries=0, timeout_s=0.05, turn=turn), 3)
        )
    assert time.monotonic() - begun < 2
