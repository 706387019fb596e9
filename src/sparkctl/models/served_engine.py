"""The policy engine on a served model: litellm calls an OpenAI-compatible server that takes and gives token ids.

vLLM's server does. What is asked beyond OpenAI's protocol: a prompt of token ids, `return_token_ids`, and
`prompt_logprobs` for the tokens that a continuation is forced to begin with. The tokenizer is that of the policy's folder.
"""

import asyncio
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparkctl.config.engines import Served
from sparkctl.errors import SparkError, did_you_mean, first_line
from sparkctl.method.ids import seed_of
from sparkctl.method.ports import Arrived, Reply, Request
from sparkctl.models import litellm_calls, loading
from sparkctl.models.completions import Prompt, body, completion, encoded, ends_of_turn

KEY = "VLLM_API_KEY"
"""The environment variable that holds the server's key, where it wants one; as `vllm serve` calls it."""


def serves(options: Served, policy: str) -> str:
    """That the server answers and serves the policy. Else a SparkError."""
    from openai import OpenAI, OpenAIError

    name = options.model or policy
    try:
        with OpenAI(**_address(options), timeout=10, max_retries=0) as client:
            served = [model.id for model in client.models.list()]
    except OpenAIError as fault:
        raise SparkError(f"synth.litellm: no answer from {options.api_base} ({first_line(fault)})") from None
    if name not in served:
        raise SparkError(f"synth.litellm.model: {options.api_base} does not serve '{name}'{did_you_mean(name, served)}")
    return f"{options.api_base} serves {name}"


def _address(options: Served) -> dict[str, Any]:
    """Where the server is, and its key; OpenAI's client wants one even where the server does not."""
    return {"base_url": options.api_base, "api_key": os.environ.get(KEY) or "none"}


PLAIN = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "skip_special_tokens": False}
"""What a server would else take from the model's generation config: it would draw from another distribution than the one
whose log-probs it gives."""
_NO_ANSWER = (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError)
"""What reading an answer raises that is none: it may hold anything, or lack it."""


class ServedEngine:
    """A port that gives each reply as it comes."""

    def __init__(self, policy: str, options: Served) -> None:
        self.options = options
        self.name = options.model or policy
        self.model = f"text-completion-openai/{self.name}"
        self.tokenizer = loading.open_tokenizer(policy)
        self.ends = ends_of_turn(self.tokenizer, loading.open_generation_config(policy))

    def __call__(self, requests: Sequence[Request], arrived: Arrived, adapter: Path | None = None) -> None:
        """Ask all; `arrived(i, reply)` as each is answered. Replies are as `TransformersEngine` gives them."""
        if adapter is not None:
            raise SparkError(
                "synth.engine: 'litellm' cannot lay an adapter over a served model; set eval.engine = 'vllm'"
            )
        litellm_calls.run(self._ask_all(requests, arrived))

    def close(self) -> None:
        """Nothing to end: connections do not outlive a list of requests."""

    async def _ask_all(self, requests: Sequence[Request], arrived: Arrived) -> None:
        from openai import AsyncOpenAI

        options = self.options
        # One client for all calls: litellm would make one, and a connection, for each. It honours Retry-After itself.
        async with AsyncOpenAI(**_address(options), timeout=options.timeout_s, max_retries=options.retries) as client:
            asking = _Asking(self, client)

            async def work(todo: litellm_calls.Todo) -> None:
                for i, request in todo:
                    arrived(i, await asking.answer(request))

            await litellm_calls.share_out(requests, options.concurrency, work)


class _Asking:
    """One event loop's calls."""

    def __init__(self, engine: ServedEngine, client: Any) -> None:
        self.engine = engine
        self.client = client
        self.places = asyncio.Semaphore(engine.options.concurrency)
        tries = 1 + engine.options.retries
        self.longest_s = (
            tries * (engine.options.timeout_s + litellm_calls.GRACE_S)
            + engine.options.retries * litellm_calls.MAX_WAIT_S
        )

    async def answer(self, request: Request) -> Reply:
        """The completions of a request: one call for each."""
        # Whether it fits is the server's to say: it may hold less than the model could.
        prompt = encoded(self.engine.tokenizer, request, sys.maxsize)
        assert isinstance(prompt, Prompt)
        found = await asyncio.gather(*(self._continued(request, prompt, i) for i in range(len(prompt.forced))))
        faults = [each for each in found if isinstance(each, str)]
        return Reply(None, faults[0], 0.0) if faults else Reply(body(prompt.ids, found), None, 0.0)

    async def _continued(self, request: Request, prompt: Prompt, i: int) -> dict[str, Any] | str:
        """The i-th completion, or what went wrong in one line."""
        forced = prompt.forced[i]
        beyond = PLAIN | {"return_token_ids": True, "stop_token_ids": sorted(self.engine.ends)}
        async with self.places:
            try:
                # The client's own limit is on each read of each try: a server that drips would never reach it.
                async with asyncio.timeout(self.longest_s):
                    response = await litellm_calls.litellm().atext_completion(
                        model=self.engine.model,
                        client=self.client,
                        prompt=prompt.ids + forced,
                        temperature=request["temperature"],
                        max_tokens=request["max_new_tokens"],
                        seed=seed_of(request["seed"], i) % 2**31,
                        stop=request["stop"] or None,
                        logprobs=0,
                        top_p=1.0,
                        extra_body=beyond | ({"prompt_logprobs": 0} if forced else {}),
                    )
            except Exception as fault:  # litellm maps every server's errors to its own many kinds
                return self._failure(fault)
        try:
            return self._completion(response.choices[0], forced, request)
        except _NO_ANSWER as fault:
            return f"the server's answer is not a completion ({type(fault).__name__})"

    def _completion(self, choice: Any, forced: list[int], request: Request) -> dict[str, Any]:
        """Raises one of `_NO_ANSWER`."""
        sampled, before = getattr(choice, "token_ids", None), getattr(choice, "prompt_logprobs", None) or []
        if sampled is None or (forced and not before):
            raise SparkError(
                f"synth.litellm: the server at {self.engine.options.api_base} gives no token ids; serve the policy with vLLM"
            )
        first = len(before) - len(forced)
        led = [before[first + n][str(token)]["logprob"] for n, token in enumerate(forced)]
        ids, logprobs = forced + list(sampled), led + list(choice.logprobs.token_logprobs)
        _check_tokens(ids, logprobs, len(forced) + request["max_new_tokens"])
        finish = choice.finish_reason if choice.finish_reason in ("stop", "length") else "stop"
        return completion(self.engine.tokenizer, self.engine.ends, request["stop"], forced, ids, logprobs, finish)

    def _failure(self, fault: Exception) -> str:
        kind, options = type(fault).__name__, self.engine.options
        if kind in ("AuthenticationError", "PermissionDeniedError"):
            raise SparkError(
                f"synth.litellm: the server takes no calls without a valid key; set {KEY} in the environment"
            )
        if kind == "NotFoundError":
            raise SparkError(f"synth.litellm: the server does not serve '{self.engine.name}'; set synth.litellm.model")
        if kind == "APIConnectionError" or "Connection error" in str(fault):
            raise SparkError(
                f"synth.litellm: no server answers at {options.api_base}; start one, or set synth.litellm.api_base"
            )
        return (
            "Timeout: no answer within synth.litellm.timeout_s"
            if kind in ("Timeout", "TimeoutError")
            else f"{kind}: {litellm_calls.line(fault)}"
        )


def _check_tokens(ids: Sequence[Any], logprobs: Sequence[Any], most: int) -> None:
    """Raise ValueError or TypeError unless these are token ids, no more than asked for, with a log-prob each."""
    if len(ids) > most or len(ids) != len(logprobs):
        raise ValueError(f"{len(ids)} tokens, {len(logprobs)} log-probs")
    if not all(type(token) is int and 0 <= token < 2**31 for token in ids):
        raise ValueError("no token ids")
    if not all(math.isfinite(logprob) and logprob <= 0 for logprob in logprobs):
        raise ValueError("no log-probs")
