"""The judge port: any litellm model, several calls in flight; the embedded rubric judge is a litellm provider too."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sparkctl.errors import SparkError
from sparkctl.judging import unreadable
from sparkctl.ports import Reply, Request

NANO_PROVIDER = "nano"
RETRIES = 2
"""Further tries of a call that failed, with back-off, by litellm."""


class LitellmJudge:
    """A port that asks a model for scores. A call that fails, or whose answer cannot be read, is a reply with its error."""

    def __init__(self, *, concurrency: int, timeout_s: float, rubric: Callable[[str], str] | None = None) -> None:
        # litellm asks the network for prices when it is imported, unless told to use its own list.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        import litellm

        litellm.suppress_debug_info = True
        litellm.telemetry = False
        if rubric is not None:
            litellm.custom_provider_map = [{"provider": NANO_PROVIDER, "custom_handler": _provider(litellm, rubric)}]
        self._litellm = litellm
        self.timeout_s = timeout_s
        self.concurrency = concurrency

    def __call__(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, in order: `content`, the model's answer as written."""
        with ThreadPoolExecutor(self.concurrency) as threads:
            return list(threads.map(self._ask, requests))

    def _ask(self, request: Request) -> Reply:
        try:
            response = self._litellm.completion(
                model=request["model"],
                messages=request["messages"],
                temperature=request["temperature"],
                timeout=self.timeout_s,
                num_retries=RETRIES,
            )
        except SparkError:
            raise
        except Exception as fault:  # litellm maps every provider's errors to its own many kinds; each is a failed call
            return Reply(None, f"{type(fault).__name__}: {_line(fault)}")
        content = response.choices[0].message.content or ""
        fault_found = unreadable(content, request["tools"])
        cost = self._cost(response)
        return Reply(None, fault_found, cost) if fault_found else Reply({"content": content}, None, cost)

    def _cost(self, response: Any) -> float | None:
        """The call's price in US dollars; None where litellm knows none. The embedded judge is free."""
        if response._hidden_params.get("custom_llm_provider") == NANO_PROVIDER:
            return 0.0
        try:
            return float(self._litellm.completion_cost(completion_response=response))
        except Exception:  # an unknown model has no price; litellm says so by several kinds of error
            return None


def _provider(litellm: Any, rubric: Callable[[str], str]) -> Any:
    class Nano(litellm.CustomLLM):
        def completion(self, *args: Any, **kwargs: Any) -> Any:
            response = kwargs["model_response"]
            response.choices[0].message.content = rubric(kwargs["messages"][-1]["content"])
            return response

    return Nano()


def _line(fault: BaseException) -> str:
    return (str(fault).strip().splitlines() or [""])[0][:300]
