"""The judge port: any litellm model, several calls in flight; the embedded rubric judge is a litellm provider too.

litellm calls the provider, once a try. What holds for all of them is here: never more in flight than set, tries again
with back-off, requests and tokens per minute that wait instead of failing, one re-ask of an answer that cannot be read,
and a budget.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sparkctl.errors import SparkError
from sparkctl.method.judging import asked_again, schema, unreadable
from sparkctl.method.ports import Arrived, Reply, Request
from sparkctl.models import litellm_calls
from sparkctl.models.rate_limits import Pace, Purse

NANO_PROVIDER = "nano"
BYTES_PER_TOKEN = 4
"""Of English and JSON, roughly."""
ANSWER_TOKENS = 30
"""Tokens that a judge is expected to write per candidate: its name, a score, a short sentence."""
EXTRA_TOKENS = 200
"""Tokens of the chat's frame and of a re-ask's complaint, at most."""
LONGEST = 1_000_000
"""Characters of an answer: a hundred times what tens of candidates take."""


@dataclass(frozen=True)
class Price:
    """US dollars per token."""

    prompt: float
    answer: float

    def of(self, prompt_tokens: float, answer_tokens: float) -> float:
        """Dollars of one call."""
        return prompt_tokens * self.prompt + answer_tokens * self.answer


FREE = Price(0.0, 0.0)


@dataclass(frozen=True)
class Estimate:
    """What a list of calls will take. Dollars are None where litellm knows no price."""

    calls: int
    prompt_tokens: int
    answer_tokens: int
    """Expected; a judge that reasons at length writes more."""
    cost_usd: float | None
    most_usd: float | None
    """With every answer as long as it may be; without re-asks."""


def estimate(requests: Sequence[Request]) -> Estimate:
    """Counted by litellm's tokenizer for the model; nothing is sent."""
    litellm = litellm_calls.litellm()
    litellm.disable_hf_tokenizer_download = True
    counted = [litellm.token_counter(model=r["model"], messages=r["messages"]) for r in requests]
    answers = [min(ANSWER_TOKENS * len(r["tools"]), r["max_tokens"]) for r in requests]
    found = price(requests[0]["model"]) if requests else FREE
    prompts, written, longest = sum(counted), sum(answers), sum(r["max_tokens"] for r in requests)
    cost, most = (None if found is None else found.of(prompts, n) for n in (written, longest))
    return Estimate(len(requests), prompts, written, cost, most)


@cache
def price(model: str) -> Price | None:
    """What litellm's list says that a model costs; None where it is not in it. The embedded judge is free."""
    if model.startswith(f"{NANO_PROVIDER}/"):
        return FREE
    try:
        known = litellm_calls.litellm().get_model_info(model)
        return Price(known["input_cost_per_token"], known["output_cost_per_token"])
    except Exception:  # litellm says by several kinds of error that it does not know a model
        return None


def reachable(model: str, *, ask: bool, timeout_s: float = 30.0) -> str:
    """That a judge can be asked: its provider and key are there and, with `ask`, it wrote a token. Else a SparkError."""
    litellm = litellm_calls.litellm()
    _check_reachable(litellm, model)
    # An address or a region that is not said is the provider's own default; a key has none.
    if missing := [name for name in litellm.validate_environment(model)["missing_keys"] if name.endswith("_KEY")]:
        raise SparkError(f"judge.model '{model}': set {' and '.join(missing)} in the environment")
    if not ask:
        return model
    # Some models think before they write, and refuse a limit of one token.
    asked = [{"role": "user", "content": "Say: 1"}]
    try:
        # As the stage calls it: litellm's other way leaves an event loop open.
        litellm_calls.run(
            litellm.acompletion(model=model, messages=asked, max_tokens=16, timeout=timeout_s, max_retries=0)
        )
    except Exception as fault:  # litellm maps every provider's errors to its own many kinds
        kind = type(fault).__name__
        says = _missing_key(litellm, model) if kind == "AuthenticationError" else f"{kind}: {litellm_calls.line(fault)}"
        raise SparkError(f"judge.model '{model}': {says}") from None
    return f"{model}, answered"


class LitellmJudge:
    """A port that asks a model for scores. A call that fails, or whose answer cannot be read, is a reply with its error."""

    def __init__(
        self,
        model: str,
        *,
        concurrency: int,
        timeout_s: float,
        retries: int = 0,
        rpm: float | None = None,
        tpm: float | None = None,
        budget_usd: float | None = None,
        spent: Callable[[], float] = lambda: 0.0,
        rubric: Callable[[str], str] | None = None,
    ) -> None:
        """`spent`: dollars that were paid before, for the budget."""
        self.litellm = litellm_calls.litellm()
        if rubric is not None:
            provider = {"provider": NANO_PROVIDER, "custom_handler": _provider(self.litellm, rubric)}
            self.litellm.custom_provider_map = [provider]
        else:
            _check_reachable(self.litellm, model)
        self.model = model
        self.price = price(model)
        if budget_usd is not None and self.price is None:
            raise SparkError(
                f"judge.budget_usd: litellm knows no price of '{model}', so a budget cannot be kept; leave it out"
            )
        self.concurrency = concurrency
        self.timeout_s = timeout_s
        self.retries = retries
        self.rates = (rpm, tpm)
        self.budget_usd = budget_usd
        self.spent = spent

    def __call__(self, requests: Sequence[Request], arrived: Arrived) -> None:
        """Ask all; `arrived(i, reply)` as each is answered, before another call takes its place."""
        litellm_calls.run(self._ask_all(requests, arrived))

    async def _ask_all(self, requests: Sequence[Request], arrived: Arrived) -> None:
        asking = _Asking(self, Purse(self.budget_usd, self.spent()))

        async def work(todo: litellm_calls.Todo) -> None:
            for i, request in todo:
                worst = asking.worst(request)
                await asking.purse.hold(worst)
                reply = await asking.answer(request)
                arrived(i, reply)
                await asking.purse.settle(worst, reply.cost_usd or 0.0)

        await litellm_calls.share_out(requests, self.concurrency, work)


class _Asking:
    """One event loop's calls, and the limits that they share."""

    def __init__(self, judge: LitellmJudge, purse: Purse) -> None:
        self.judge = judge
        self.purse = purse
        self.requests, self.tokens = (Pace(rate) for rate in judge.rates)
        self.has_schema = judge.litellm.supports_response_schema(judge.model)

    def worst(self, request: Request) -> float:
        """The most dollars that a request can cost: asked twice, with answers as long as they may be."""
        return self._worst(request, again=False) + self._worst(request, again=True)

    def _worst(self, request: Request, again: bool) -> float:
        """Of one asking."""
        return (self.judge.price or FREE).of(*_most(request, again))

    async def answer(self, request: Request) -> Reply:
        """One call, and one more that says what is wrong if the answer cannot be read."""
        first = await self._call(request, request["messages"])
        fault = _fault(first, request)
        if first.body is None or fault is None:
            return first
        messages = asked_again(request["messages"], first.body["content"], fault)
        second = await self._call(request, messages, again=True)
        # A call that failed has no price; the one before it has.
        cost = None if first.cost_usd is None else first.cost_usd + (second.cost_usd or 0.0)
        if second.body is None:
            return Reply(None, f"{second.error}; asked again because {fault}", cost)
        fault = _fault(second, request)
        return Reply(None, f"{fault} (asked twice)", cost) if fault else replace(second, cost_usd=cost)

    async def _call(self, request: Request, messages: Sequence[Any], again: bool = False) -> Reply:
        expected = sum(len(m["content"]) for m in messages) / BYTES_PER_TOKEN + ANSWER_TOKENS * len(request["tools"])

        async def turn() -> None:
            await self.tokens.take(expected)
            await self.requests.take()

        form = {"response_format": answer_format(request["tools"])} if self.has_schema else {}
        try:
            response = await litellm_calls.tried(
                lambda: self.judge.litellm.acompletion(
                    model=self.judge.model,
                    messages=list(messages),
                    temperature=request["temperature"],
                    max_tokens=request["max_tokens"],
                    timeout=self.judge.timeout_s,
                    max_retries=0,  # the client's own would not keep to the pace
                    **form,
                ),
                retries=self.judge.retries,
                timeout_s=self.judge.timeout_s,
                turn=turn,
            )
        except Exception as fault:  # litellm maps every provider's errors to its own many kinds; each is a failed call
            return Reply(None, self._failure(fault))
        used, said = _used(response), _said(response)
        if used is not None:
            self.tokens.add(min(used, sum(_most(request, again))) - expected)
        cost = self._cost(response, self._worst(request, again), told=used is not None)
        return Reply(None, said, cost) if isinstance(said, str) else Reply(said, None, cost)

    def _cost(self, response: Any, worst: float, told: bool) -> float | None:
        """Dollars of one answer, cached prompts considered; the worst case where what it used is not told, or absurd."""
        if self.judge.price is None:
            return None
        if self.judge.price == FREE:
            return 0.0
        try:
            # litellm has worked it out with every answer; where it says so. To work it out again takes 0.16 ms a call.
            known = response._hidden_params.get("response_cost")
            cost = self.judge.litellm.completion_cost(response, model=self.judge.model) if known is None else known
            return float(cost) if told and 0 <= cost <= worst else worst
        except Exception:  # litellm says by several kinds of error that it cannot tell
            return worst

    def _failure(self, fault: Exception) -> str:
        """What went wrong in one line, without keys, and the same each time; or a SparkError if it will befall all."""
        kind = type(fault).__name__
        if kind == "AuthenticationError":
            # The provider's own words may hold the key, or part of it.
            raise SparkError(f"judge.model '{self.judge.model}': {_missing_key(self.judge.litellm, self.judge.model)}")
        if kind == "NotFoundError":
            raise SparkError(
                f"judge.model '{self.judge.model}': the provider does not know it; {litellm_calls.line(fault)}"
            )
        if kind in ("Timeout", "TimeoutError"):
            return "Timeout: no answer within judge.timeout_s"
        return f"{kind}: {litellm_calls.line(fault)}"


def _most(request: Request, again: bool) -> tuple[int, int]:
    """Tokens of prompt and answer that one asking takes at most. No token is shorter than a byte; a re-ask repeats the
    answer."""
    prompt = sum(len(message["content"].encode()) for message in request["messages"]) + EXTRA_TOKENS
    answer = request["max_tokens"]
    return prompt + answer * again, answer


def _used(response: Any) -> int | None:
    """Tokens of prompt and answer, as the provider counts them; None where it tells none, or nonsense."""
    usage = getattr(response, "usage", None)
    prompt, answer = (getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens"))
    if type(prompt) is not int or type(answer) is not int:
        return None
    return prompt + answer if prompt > 0 and answer >= 0 else None


def _said(response: Any) -> dict[str, Any] | str:
    """A reply's body, or why there is none. A provider, or a proxy before it, may send anything."""
    try:
        choice = response.choices[0]
        content, finish = choice.message.content or "", choice.finish_reason
    except (AttributeError, IndexError, TypeError):
        return "the provider's answer holds no message"
    if not isinstance(content, str):
        return "the provider's answer holds no text"
    if len(content) > LONGEST:
        return f"the provider's answer is longer than {LONGEST:,} characters"
    # A lone surrogate is valid JSON and no valid text.
    return {"content": content.encode("utf-8", "replace").decode(), "finish": finish}


def _fault(reply: Reply, request: Request) -> str | None:
    """Why an answer cannot be read."""
    if reply.body is None:
        return reply.error
    found = unreadable(reply.body["content"], request["tools"])
    return f"{found}; it was cut off at judge.max_tokens" if found and reply.body["finish"] == "length" else found


def answer_format(tools: Sequence[str]) -> dict[str, Any]:
    """OpenAI's `response_format` for an answer about these tools; litellm knows how other providers are told."""
    return {"type": "json_schema", "json_schema": {"name": "scores", "strict": True, "schema": schema(tools)}}


def _check_reachable(litellm: Any, model: str) -> None:
    """Refuse what could only fail, call by call and retry by retry."""
    try:
        _, provider, _, _ = litellm.get_llm_provider(model)
    except Exception:  # said by an error of many lines
        raise SparkError(
            f"judge.model '{model}': litellm knows no such provider; write PROVIDER/MODEL, such as openai/gpt-4o"
        ) from None
    # Without a key OpenAI's own client fails before it sends anything, and litellm takes that for a fault of the server.
    if provider == "openai" and not os.environ.get("OPENAI_API_KEY"):
        raise SparkError(f"judge.model '{model}': {_missing_key(litellm, model)}")


def _missing_key(litellm: Any, model: str) -> str:
    missing = litellm.validate_environment(model)["missing_keys"]
    asked = f"set {' and '.join(missing)} in the environment" if missing else "check the key in the environment"
    return f"the provider takes no calls without a valid key; {asked}"


def _provider(litellm: Any, rubric: Callable[[str], str]) -> Any:
    class Nano(litellm.CustomLLM):
        async def acompletion(self, *args: Any, **kwargs: Any) -> Any:
            response = kwargs["model_response"]
            response.choices[0].message.content = rubric(kwargs["messages"][1]["content"])
            return response

    return Nano()
