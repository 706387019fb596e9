"""What must hold of answers that no honest judge and no honest policy server gives: each is a failed call, bounded in time and
memory, and what it says of its price is believed only where it can be true."""

import json
import resource
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from helpers.judge_client import states
from sparkctl.config.engines import Served
from sparkctl.errors import SparkError
from sparkctl.method.episode import ACTIONS
from sparkctl.models import litellm_calls
from sparkctl.models.litellm_judge import LONGEST, LitellmJudge
from sparkctl.models.served_engine import ServedEngine
from sparkctl.stages import judge as stage

GPT = "openai/gpt-4o"
GOOD = json.dumps({action: {"score": 5} for action in ACTIONS})
DRIP_S, DRIPS = 0.2, 100
"""Seconds between two blanks of a server that drips; how many it gives: 20 s, long past every limit here. One that would not
end would hang a client without a limit, and no test would fail."""


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = self.server.body
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            if body is not None:
                self.wfile.write(body)
            for _ in range(DRIPS if body is None else 0):
                if self.server.ended.wait(DRIP_S):
                    break
                self.wfile.write(b" ")
                self.wfile.flush()
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *args):
        pass


@contextmanager
def answering(body):
    """The address of a server that answers all with these bytes, or, given None, drips blanks."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.body, server.ended = (
            body if body is None or isinstance(body, bytes) else json.dumps(body).encode(),
            threading.Event(),
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(litellm_calls, "GRACE_S", 0.5)
    monkeypatch.setattr(litellm_calls, "MAX_WAIT_S", 0.5)
    monkeypatch.setenv("OPENAI_API_KEY", "none-is-needed-here")


def bounded(ask, seconds=60.0, mebibytes=300):
    """What it gives, within that time and memory."""
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = ask()
    assert time.monotonic() - begun < seconds
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < mebibytes
    return found


# ---- the judge -------------------------------------------------------------------------------------------------------


def said(content, **more):
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o", **more, "choices": more.get(
        "choices", [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}])}  # fmt: skip


def judged(monkeypatch, body, **settings):
    """The reply to one call, and what it was said to cost."""
    questions, candidates = states(["one"])
    requests = stage.requests({"questions": questions, "candidates": candidates}, stage.Judge(model=GPT, prompt="p"))
    replies = {}
    with answering(body) as address:
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        monkeypatch.setenv("OPENAI_API_BASE", address)
        LitellmJudge(GPT, concurrency=1, timeout_s=2.0, **settings)(requests[:1], replies.__setitem__)
    return replies[0]


DEEP = "[" * 100_000 + "]" * 100_000
NO_VERDICT = {
    "choices: []": said("", choices=[]),
    "choices: null": said("", choices=None),
    "choices: text": said("", choices="no"),
    "message: null": said("", choices=[{"index": 0, "finish_reason": "stop", "message": None}]),
    "content: null": said(None),
    "content: number": said(7),
    "content: list": said([{"type": "text", "text": GOOD}, 3]),
    "content: empty": said(""),
    "content: deep": said(DEEP),
    "content: 10 MB": said("x" * 10_000_000),
    "content: 10 MB of scores": said('{"cot": {"score": 5}, "x": "' + "y" * 10_000_000 + '"}'),
    "scores: NaN": said('{"cot": {"score": NaN}}'),
    "scores: huge": said('{"cot": {"score": 1' + "0" * 5000 + "}}"),
    "a list": [1, 2],
    "a number": 7,
    "no object": {},
    "no JSON": b"<html>",
    "no UTF-8": b'{"choices": "\xff\xfe"}',
    "deep": DEEP.encode(),
    # litellm looks through what is no answer for keys, at 0.2 MB/s.
    "100 KB": b'"' + b"x" * 100_000 + b'"',
}


@pytest.mark.parametrize("body", NO_VERDICT.values(), ids=NO_VERDICT)
def test_an_answer_that_is_none_is_a_failed_call_of_the_judge(monkeypatch, body):
    reply = bounded(lambda: judged(monkeypatch, body))
    assert reply.body is None
    assert reply.error
    assert len(reply.error) < 1000
    assert "\n" not in reply.error


def test_an_answer_that_drips_for_ever_is_given_up(monkeypatch):
    reply = bounded(lambda: judged(monkeypatch, None))
    assert reply.error == "Timeout: no answer within judge.timeout_s"


def test_an_answer_of_just_the_longest_is_read(monkeypatch):
    padded = GOOD + " " * (LONGEST - len(GOOD))
    assert judged(monkeypatch, said(padded)).error is None
    assert "longer than" in judged(monkeypatch, said(padded + " ")).error


USAGE = {
    "none": None,
    "negative": {"prompt_tokens": -5, "completion_tokens": -5, "total_tokens": -10},
    "of nothing": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    "huge": {"prompt_tokens": 10**15, "completion_tokens": 10**15, "total_tokens": 2 * 10**15},
    "no number": {"prompt_tokens": float("nan"), "completion_tokens": float("inf"), "total_tokens": 1},
    "text": {"prompt_tokens": "5", "completion_tokens": "x", "total_tokens": []},
    "half": {"completion_tokens": 5},
}


@pytest.mark.parametrize("usage", USAGE.values(), ids=USAGE)
def test_a_usage_that_cannot_be_true_costs_the_most_that_it_can_be(monkeypatch, usage):
    honest = judged(monkeypatch, said(GOOD, usage={"prompt_tokens": 500, "completion_tokens": 50, "total_tokens": 550}))
    assert honest.error is None
    reply = judged(monkeypatch, said(GOOD, usage=usage), budget_usd=1.0)
    assert reply.cost_usd is None or reply.cost_usd > honest.cost_usd or reply.error
    assert reply.cost_usd is None or 0 < reply.cost_usd < 0.2


# ---- the policy server -----------------------------------------------------------------------------------------------


def written(**changes):
    choice = {"index": 0, "text": " x", "finish_reason": "stop", "token_ids": [5, 6], "prompt_logprobs": None}
    choice |= {
        "logprobs": {"token_logprobs": [-0.5, -0.5], "tokens": ["a", "b"], "top_logprobs": [], "text_offset": []}
    }
    return {"id": "x", "object": "text_completion", "created": 1, "model": "m", "choices": [choice | changes]}


def asked(body):
    request = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}
    request |= {"turn": [{"text": "Thought:"}], "forced": [""], "stop": ["\nAction:"], "max_new_tokens": 4}
    replies = {}
    with answering(body) as address:
        options = Served(api_base=address, timeout_s=1.0, retries=0, concurrency=1)
        ServedEngine("nano", options)([request | {"temperature": 0.0, "seed": 1}], replies.__setitem__)
    return replies[0]


def logprobs(*values):
    return {"logprobs": {"token_logprobs": list(values), "tokens": ["a", "b"], "top_logprobs": [], "text_offset": []}}


NO_COMPLETION = {
    "choices: []": written() | {"choices": []},
    "choices: text": written() | {"choices": "no"},
    "ids: text": written(token_ids="ab"),
    "ids: numbers": written(token_ids=[1.5, 2.5]),
    "ids: negative": written(token_ids=[-1, 6]),
    "ids: huge": written(token_ids=[10**12, 6]),
    "ids: deep": written(token_ids=[[5], [6]]),
    "ids: more than asked for": written(token_ids=[5] * 5, **logprobs(*[-0.5] * 5)),
    "ids: a million": written(token_ids=[5] * 10**6, **logprobs(*[-0.5] * 10**6)),
    "log-probs: none": written(logprobs=None),
    "log-probs: fewer": written(**logprobs(-0.5)),
    "log-probs: NaN": written(**logprobs(float("nan"), -0.5)),
    "log-probs: infinite": written(**logprobs(float("-inf"), -0.5)),
    "log-probs: positive": written(**logprobs(0.5, -0.5)),
    "log-probs: null": written(**logprobs(None, -0.5)),
    "log-probs: text": written(**logprobs("a", "b")),
    "a list": [1, 2],
    "a number": 7,
    "no JSON": b"<html>",
    "deep": DEEP.encode(),
    "10 MB": b'"' + b"x" * 10_000_000 + b'"',
}


def test_a_completion_is_read():
    reply = asked(written())
    assert reply.error is None
    assert reply.body["completions"][0]["ids"] == [5, 6]


@pytest.mark.parametrize("body", NO_COMPLETION.values(), ids=NO_COMPLETION)
def test_an_answer_that_is_none_is_a_failed_call_of_the_policy(body):
    reply = bounded(lambda: asked(body))
    assert reply.body is None
    assert reply.error
    assert len(reply.error) < 1000
    assert "\n" not in reply.error


def test_a_server_that_gives_no_tokens_ends_the_stage_in_one_line():
    for body in (written(token_ids=None), written() | {"choices": None}):
        with pytest.raises(SparkError, match=r"\Asynth.litellm: the server at \S+ gives no token ids; [^\n]+\Z"):
            asked(body)


def test_a_server_that_drips_for_ever_is_given_up():
    assert bounded(lambda: asked(None)).error == "Timeout: no answer within synth.litellm.timeout_s"
