"""What must hold of the judge's port: litellm is really called; every failure is a reply with its error."""

import json
import threading

import pytest

from sparkctl.backends.litellm_judge import LitellmJudge
from sparkctl.episode import ACTIONS

GOOD = json.dumps({a: {"score": 5} for a in ACTIONS})


def request(content="{}", model="nano/rubric"):
    messages = [{"role": "system", "content": "rubric"}, {"role": "user", "content": content}]
    return {"model": model, "messages": messages, "temperature": 0.0, "tools": list(ACTIONS), "vote": 0}


def test_the_embedded_judge_is_reached_through_litellm_and_is_free():
    seen = []
    judge = LitellmJudge(concurrency=2, timeout_s=5, rubric=lambda case: seen.append(case) or GOOD)
    replies = judge([request("one"), request("two")])
    assert [(r.body["content"], r.error, r.cost_usd) for r in replies] == [(GOOD, None, 0.0)] * 2
    assert sorted(seen) == ["one", "two"]


def test_replies_keep_the_order_of_the_requests_at_any_concurrency():
    def slow_first(case):
        threading.Event().wait(0.2 if case == "0" else 0)
        return json.dumps({a: {"score": int(case)} for a in ACTIONS})

    replies = LitellmJudge(concurrency=8, timeout_s=5, rubric=slow_first)([request(str(i)) for i in range(8)])
    assert [json.loads(r.body["content"])["cot"]["score"] for r in replies] == list(range(8))


def test_never_more_in_flight_than_set():
    running, most, lock = 0, 0, threading.Lock()

    def counting(case):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.01)
        with lock:
            running -= 1
        return GOOD

    LitellmJudge(concurrency=3, timeout_s=5, rubric=counting)([request(str(i)) for i in range(30)])
    assert most == 3


def test_a_judge_that_raises_is_a_reply_with_its_error():
    def broken(case):
        raise ValueError("no idea")

    reply = LitellmJudge(concurrency=1, timeout_s=5, rubric=broken)([request()])[0]
    assert reply.body is None
    assert "no idea" in reply.error


def test_an_answer_that_cannot_be_read_is_a_failure_so_that_it_is_not_remembered():
    reply = LitellmJudge(concurrency=1, timeout_s=5, rubric=lambda case: "not json")([request()])[0]
    assert (reply.body, reply.error) == (None, "the judge's answer is not JSON")


@pytest.mark.parametrize("model", ["gpt-4o", "no-such-provider/x"])
def test_a_missing_key_or_model_is_an_error_that_shows_no_key(model, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    reply = LitellmJudge(concurrency=1, timeout_s=5)([request(model=model)])[0]
    assert reply.body is None
    assert reply.error
    assert "Traceback" not in reply.error
