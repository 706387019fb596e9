"""What must hold of the judge's port: litellm is really called, over HTTP, by a server that misbehaves as it is told; each
failure is a reply with its error; nothing is sent beyond the limits that are set."""

import json
import time

import pytest

from helpers import judge_server
from helpers.judge_client import KEY, reached, serving, states
from sparkctl.errors import SparkError
from sparkctl.method.episode import ACTIONS
from sparkctl.method.ports import Reply
from sparkctl.models import litellm_judge
from sparkctl.models.litellm_judge import LitellmJudge
from sparkctl.stages import judge as stage

GPT = "openai/gpt-4o"
GOOD = json.dumps({a: {"score": 5} for a in ACTIONS})
QUICK = {"concurrency": 16, "timeout_s": 1.0, "retries": 1}


@pytest.fixture(scope="module")
def server():
    with serving() as found, reached(found):
        yield found


def requests(*faults, model=GPT, **settings):
    questions, candidates = states(list(faults))
    asked = stage.Judge(model=model, prompt="the rubric", **settings)
    return stage.requests({"questions": questions, "candidates": candidates}, asked)


def ask(judge, asked):
    """The replies in order."""
    replies: dict[int, Reply] = {}
    judge(asked, replies.__setitem__)
    assert len(replies) == len(asked)
    return [replies[i] for i in range(len(asked))]


def embedded(rubric, concurrency=2):
    return LitellmJudge("nano/rubric", concurrency=concurrency, timeout_s=5, rubric=rubric)


def test_the_embedded_judge_is_reached_through_litellm_and_is_free():
    seen = []
    asked = requests("one", "two", model="nano/rubric")
    replies = ask(embedded(lambda case: seen.append(case) or GOOD), asked)
    assert [(r.body["content"], r.error, r.cost_usd) for r in replies] == [(GOOD, None, 0.0)] * 2
    assert sorted(seen) == sorted(r["messages"][1]["content"] for r in asked)


def test_an_embedded_judge_that_raises_is_a_reply_with_its_error():
    def broken(case):
        raise ValueError("no idea")

    reply = ask(embedded(broken), requests("x", model="nano/rubric"))[0]
    assert reply.body is None
    assert "no idea" in reply.error


MENDED = {
    "busy": 2,
    "broken": 2,
    "hang": 2,
    "cut": 2,
    "not_json": 2,
    "wrong_schema": 2,
    "missing": 2,
    "eleven": 2,
    "empty": 2,
}


def test_what_can_be_mended_is_mended_by_one_more_call(server):
    server.forget()
    replies = ask(LitellmJudge(GPT, **QUICK), requests("", *(f"fault={f}" for f in MENDED)))
    assert [r.error for r in replies] == [None] * 10
    assert sum(server.seen()["asked"].values()) == 1 + 2 * len(MENDED)


FINAL = {
    "busy": "RateLimitError: slow down",
    "broken": "InternalServerError: broken for Bearer (OPENAI_API_KEY)",
    "hang": "Timeout: no answer within judge.timeout_s",
    "cut": "InternalServerError: Connection error.",
    "not_json": "the judge's answer is not JSON (asked twice)",
    "wrong_schema": "the judge gave no score (asked twice)",
    "missing": "the judge gave no score: {last} (asked twice)",
    "eleven": "the judge's score 11 is not a number from 0 to 10: {first} (asked twice)",
    "empty": "the judge's answer is not JSON (asked twice)",
}


def test_what_cannot_be_mended_is_an_error_after_one_retry_or_one_re_ask(server):
    server.forget()
    asked = requests(*(f"fault=always_{f}" for f in FINAL))
    replies = ask(LitellmJudge(GPT, **QUICK), asked)
    shown = [{"first": r["tools"][0], "last": r["tools"][-1]} for r in asked]
    assert [r.error for r in replies] == [e.format(**s) for e, s in zip(FINAL.values(), shown, strict=True)]
    assert all(r.body is None for r in replies)
    assert sum(server.seen()["asked"].values()) == 2 * len(FINAL)
    assert KEY not in repr(replies)


def test_a_re_ask_says_what_was_wrong_and_both_answers_are_paid(server):
    server.forget()
    asked = requests("fault=eleven")
    reply = ask(LitellmJudge(GPT, **QUICK), asked)[0]
    told = server.seen()["last"]["messages"]
    assert [m["role"] for m in told] == ["system", "user", "assistant", "user"]
    assert told[:2] == asked[0]["messages"]
    assert f"score 11 is not a number from 0 to 10: {asked[0]['tools'][0]}" in told[3]["content"]
    # The server counts four characters as a token; gpt-4o is 2.50 and 10 dollars a million.
    prompts = sum(len(m["content"]) for m in told[:2]) // 4 + sum(len(m["content"]) for m in told) // 4
    answers = len(told[2]["content"]) // 4 + len(reply.body["content"]) // 4
    assert reply.cost_usd == pytest.approx(prompts * 2.5e-6 + answers * 10e-6)


def test_the_answer_is_bound_to_a_schema_where_the_model_knows_schemas(server):
    asked = requests("")
    ask(LitellmJudge(GPT, **QUICK), asked)
    sent = server.seen()["last"]
    form = sent["response_format"]["json_schema"]["schema"]
    assert list(form["properties"]) == form["required"] == asked[0]["tools"]
    assert form["properties"]["cot"]["required"] == ["score", "reason"]
    assert sent["max_tokens"] == 2048
    ask(LitellmJudge("openai/my-judge", **QUICK), requests("", model="openai/my-judge"))
    assert "response_format" not in server.seen()["last"]


def test_an_unknown_price_is_unknown_and_never_zero(server):
    """To litellm's Router a model without a price costs nothing, once it has seen it."""
    for _ in range(2):
        asked = requests("", model="openai/my-judge")
        assert [r.cost_usd for r in ask(LitellmJudge("openai/my-judge", **QUICK), asked)] == [None]
        found = litellm_judge.estimate(asked)
        assert (found.calls, found.cost_usd, found.most_usd) == (1, None, None)
    with pytest.raises(SparkError, match=r"budget_usd: litellm knows no price of 'openai/my-judge'"):
        LitellmJudge("openai/my-judge", budget_usd=1.0, **QUICK)


def test_an_estimate_counts_tokens_and_sends_nothing(server):
    server.forget()
    asked = requests("", "", max_tokens=1000)
    found = litellm_judge.estimate(asked)
    assert server.seen()["asked"] == {}
    assert (found.calls, found.answer_tokens) == (2, 2 * 9 * 30)
    assert 2 * 200 < found.prompt_tokens < 2 * 400  # some 1,000 characters of JSON each
    assert found.cost_usd == pytest.approx(found.prompt_tokens * 2.5e-6 + 540 * 10e-6)
    assert found.most_usd == pytest.approx(found.prompt_tokens * 2.5e-6 + 2000 * 10e-6)


def test_an_estimate_is_near_what_is_paid(server):
    asked = requests(*[""] * 20)
    paid = sum(r.cost_usd for r in ask(LitellmJudge(GPT, **QUICK), asked))
    assert paid < litellm_judge.estimate(asked).cost_usd < 2 * paid, "this server's reasons are short"


def test_never_more_in_flight_than_set_by_the_servers_own_count():
    with serving(latency=0.05) as slow, reached(slow):
        ask(LitellmJudge(GPT, concurrency=7, timeout_s=5), requests(*[""] * 60))
        assert slow.seen()["most_in_flight"] == 7


def test_requests_keep_to_the_rate_retries_included(server):
    """1,200 a minute are one each 50 ms; ten are tried twice. Six tries in a row span five pauses, give or take one."""
    ask(LitellmJudge(GPT, **QUICK), requests(""))  # litellm's first call imports much, and what waits meanwhile is due
    server.forget()
    ask(LitellmJudge(GPT, rpm=1200, **QUICK), requests(*["fault=broken"] * 10, *[""] * 10))
    begun = server.seen()["begun"]
    assert len(begun) == 30
    assert all(late - early >= 4 * 0.05 for early, late in zip(begun, begun[5:], strict=False))


def test_tokens_keep_to_the_rate(server):
    """Each call takes some 500 tokens: 300,000 a minute are ten calls a second."""
    asked = requests(*[""] * 12)
    tokens = len(json.dumps(asked[0]["messages"])) / 4
    begun = time.monotonic()
    ask(LitellmJudge(GPT, tpm=300_000, **QUICK), asked)
    assert time.monotonic() - begun > 11 * tokens / 300_000 * 60


def test_retry_after_is_honoured(server):
    """The server asks for one second; litellm's first back-off alone would be at least half of one."""
    server.forget()
    ask(LitellmJudge(GPT, **QUICK), requests("fault=busy"))
    begun = server.seen()["begun"]
    assert begun[1] - begun[0] >= 1.0


def test_a_budget_stops_before_the_call_that_would_exceed_it(server):
    """The worst case of a call is two askings with answers of max_tokens; the real one is far below."""
    server.forget()
    asked = requests(*[""] * 40, max_tokens=200)
    paid: list[float] = []
    judge = LitellmJudge(GPT, budget_usd=0.05, spent=lambda: 0.02, **QUICK)
    with pytest.raises(
        SparkError, match=r"judge\.budget_usd 0\.05: \$0\.0\d+ was spent, and the next call may cost up"
    ):
        judge(asked, lambda i, reply: paid.append(reply.cost_usd))
    worst = 2 * (sum(len(m["content"].encode()) for m in asked[0]["messages"]) + 200) * 2.5e-6 + 200 * (2.5e-6 + 20e-6)
    assert 0.05 - worst * 1.1 < 0.02 + sum(paid) <= 0.05, "as much as fits, and no more"
    assert len(server.seen()["asked"]) == len(paid) < 40, "every call that was sent was given back"


def worst_usd(request, again=False):
    """The most that one asking can cost by the prices of gpt-4o: each byte a token, the answer as long as it may be."""
    prompt = sum(len(m["content"].encode()) for m in request["messages"]) + 200
    return (prompt + 200 * again) * 2.5e-6 + 200 * 10e-6


def test_a_budget_holds_what_a_re_ask_may_cost_as_well(server):
    """One asking would fit, two do not: nothing is sent. With a hair more than two it is."""
    asked = requests("", max_tokens=200)
    both = worst_usd(asked[0]) + worst_usd(asked[0], again=True)
    server.forget()
    with pytest.raises(SparkError, match="the next call may cost up"):
        ask(LitellmJudge(GPT, budget_usd=0.99 * both, **QUICK), asked)
    assert server.seen()["asked"] == {}
    assert ask(LitellmJudge(GPT, budget_usd=1.01 * both, **QUICK), asked)[0].error is None


@pytest.mark.parametrize("usage", judge_server.USAGES)
def test_a_usage_that_cannot_be_true_is_paid_as_the_worst_case(server, usage):
    asked = requests(f"fault={usage}", max_tokens=200)
    reply = ask(LitellmJudge(GPT, **QUICK), asked)[0]
    assert reply.error is None
    assert reply.cost_usd == pytest.approx(worst_usd(asked[0]))


@pytest.mark.parametrize("usage", judge_server.USAGES)
def test_a_usage_that_cannot_be_true_does_not_move_the_pace(server, usage, monkeypatch):
    """Only what is true is settled: nothing, or no more than the worst case."""
    settled = []
    monkeypatch.setattr(litellm_judge.Pace, "add", lambda pace, units: settled.append(units))
    asked = requests(f"fault={usage}", max_tokens=200)
    ask(LitellmJudge(GPT, tpm=10**9, **QUICK), asked)
    expected, *corrections = (units for units in settled if units != 1)
    most = sum(len(m["content"].encode()) for m in asked[0]["messages"]) + 200 + 200
    assert corrections == ([most - expected] if usage == "huge" else [])


def test_the_price_is_the_one_that_litellm_worked_out_already(server, monkeypatch):
    """By hand: the server counts four characters as a token; gpt-4o is 2.50 and 10 dollars a million."""
    judge = LitellmJudge(GPT, **QUICK)
    asked = requests("")
    again: list[str] = []
    monkeypatch.setattr(judge.litellm, "completion_cost", lambda *a, **k: again.append("again"))
    reply = ask(judge, asked)[0]
    prompt = sum(len(m["content"]) for m in asked[0]["messages"]) // 4
    assert reply.cost_usd == pytest.approx(prompt * 2.5e-6 + len(reply.body["content"]) // 4 * 10e-6)
    assert again == []


ODD = {
    "unanswered": "",
    "endless": "the provider's answer is longer than 1,000,000 characters",
}


@pytest.mark.parametrize("odd", judge_server.ODD)
def test_an_answer_that_holds_nothing_to_read_is_a_failed_call(server, odd):
    reply = ask(LitellmJudge(GPT, **QUICK), requests(f"fault={odd}"))[0]
    assert reply.body is None
    assert ODD[odd] in reply.error
    assert len(reply.error) < 400


def test_a_budget_of_nothing_sends_nothing(server):
    server.forget()
    with pytest.raises(SparkError, match="budget_usd 0: "):
        ask(LitellmJudge(GPT, budget_usd=0.0, **QUICK), requests(""))
    assert server.seen()["asked"] == {}


def test_a_fault_of_whoever_takes_the_replies_stops_the_judge(server):
    """A full disk, say: no further call is paid for; those in flight end, and what can be kept of them is."""
    server.forget()
    taken = []

    def full(i, reply):
        taken.append(i)
        if len(taken) == 1:
            raise SparkError("disk full")

    with pytest.raises(SparkError, match="disk full"):
        LitellmJudge(GPT, concurrency=4, timeout_s=5)(requests(*[""] * 40), full)
    assert len(server.seen()["asked"]) == len(taken) == 4


def test_a_provider_that_refuses_the_key_stops_the_judge_in_one_line(server):
    server.forget()
    with pytest.raises(SparkError) as refused:
        ask(LitellmJudge(GPT, concurrency=1, timeout_s=5), requests("fault=always_refused", ""))
    assert str(refused.value).startswith(f"judge.model '{GPT}': the provider takes no calls without a valid key; check")
    assert KEY not in str(refused.value)
    assert len(server.seen()["asked"]) == 1


def test_a_missing_key_or_provider_is_refused_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SparkError, match=r"judge\.model 'gpt-4o': .* set OPENAI_API_KEY in the environment"):
        LitellmJudge("gpt-4o", **QUICK)
    with pytest.raises(SparkError, match="'no-such-provider/x': litellm knows no such provider; write PROVIDER/MODEL"):
        LitellmJudge("no-such-provider/x", **QUICK)


def test_one_judge_may_be_called_again_and_again(server):
    """Each call has an event loop of its own. litellm tells them apart by their place in memory, which may come again:
    connections of the one before must not be found there."""
    judge = LitellmJudge(GPT, **QUICK)
    replies = [ask(judge, requests("")) for _ in range(3)]
    assert replies == replies[:1] * 3
    assert replies[0][0].error is None
    assert judge.litellm.in_memory_llm_clients_cache.cache_dict == {}
