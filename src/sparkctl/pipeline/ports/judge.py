"""From settings to the judge's port: any litellm model, or the embedded rubric."""

import json
from typing import Any

from sparkctl.method.ids import digest
from sparkctl.method.ports import Port, Request, StreamingPort, Watch
from sparkctl.pipeline.ports import tools as tool_ports
from sparkctl.storage.memory import Memory, lazy, remembered_singly
from sparkctl.tools.settings import Tools

RUBRIC_VERSION = 2
"""Raised by hand when the embedded judge starts to score the same case differently."""
JUDGE_VERSION = 1
"""Raised by hand when a judge is asked the same differently: schema, re-ask."""
NANO_JUDGE = "nano/rubric"
JUDGE_ACCOUNT = "judge"
"""What judging is booked on in the memory of replies."""


def judge_identity(model: str, tools: Tools) -> dict[str, str]:
    """What else decides the scores: how a judge is asked; the embedded one runs tools of its own, offline."""
    if model != NANO_JUDGE:
        return {"asked": str(JUDGE_VERSION)}
    return {"rubric": digest([RUBRIC_VERSION, tool_ports.embedded_scope(tools)])}


def judge_port(settings: Any, tools: Tools, memory: Memory, watch: Watch) -> Port:
    """The judge: any litellm model; "nano/rubric" is answered in this process."""

    def open_port() -> StreamingPort:
        from sparkctl.models.litellm_judge import LitellmJudge

        return LitellmJudge(
            settings.model,
            concurrency=settings.concurrency,
            timeout_s=settings.timeout_s,
            retries=settings.retries,
            rpm=settings.rpm,
            tpm=settings.tpm,
            budget_usd=settings.budget_usd,
            spent=lambda: memory.paid(JUDGE_ACCOUNT),
            rubric=_rubric(tools) if settings.model == NANO_JUDGE else None,
        )

    scope = judge_scope(settings.model, tools)
    return remembered_singly(lazy(open_port), memory, scope, account=JUDGE_ACCOUNT, watch=watch)


def judge_scope(model: str, tools: Tools) -> str:
    """Under which a judge's replies are remembered."""
    return digest(["judge", judge_identity(model, tools)])


def judge_estimate(requests: list[Request], settings: Any, tools: Tools, memory: Memory) -> Any:
    """(what is to be asked still, how many requests memory answers), with nothing sent or written."""
    from sparkctl.models import litellm_judge

    scope = judge_scope(settings.model, tools)
    named = {digest([scope, request]): request for request in requests}
    known = memory.recall(list(named)) if memory.path.exists() else {}
    missing = [request for name, request in named.items() if name not in known]
    return litellm_judge.estimate(missing), len(requests) - len(missing)


def _rubric(tools: Tools) -> Any:
    from sparkctl.nano import judge

    box = tool_ports.embedded(tools)
    box.open("python_repl")  # it will run programs: one error now, not one for each
    return lambda case: json.dumps(judge.score(json.loads(case), box))
