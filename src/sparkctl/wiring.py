"""From settings to ports: which back end answers, under which memory scope, opened only when something is asked.

A scope names what answers: a policy by the bytes of its folder, a tool by its version and corpus, a judge by its name.
"""

import json
import threading
from functools import cache
from pathlib import Path
from typing import Any

from sparkctl.backends import models
from sparkctl.ids import digest, digest_path
from sparkctl.ports import Advance, Memory, Port, Reply, Request, lazy, remembered
from sparkctl.tools.settings import Tools

POLICY_CHUNK = 256
"""Requests that are put to a policy and remembered together."""
TOOLS_VERSION = 1
"""Raised by hand when a tool starts to answer the same query differently."""
RUBRIC_VERSION = 1
"""Raised by hand when the embedded judge starts to score the same case differently."""
NANO_JUDGE = "nano/rubric"
_WHOLE_FILE = 64 * 2**20


def policy_identity(policy: str) -> str:
    """What tells one policy model from another: the bytes of a local folder, the name of one on the hub.

    Of a weight file over 64 MiB only the size and the ends are read: enough to tell two trainings apart.
    """
    folder = Path(models.resolve(policy))
    if not folder.is_dir():
        return policy
    return digest([[path.name, _digest_weights(path)] for path in sorted(folder.iterdir()) if path.is_file()])


def _digest_weights(path: Path) -> str:
    size = path.stat().st_size
    if size <= _WHOLE_FILE:
        return digest_path(path)
    with path.open("rb") as file:
        head = file.read(2**20)
        file.seek(size - 2**20)
        return digest([size, head.hex(), file.read().hex()])


@cache
def corpus_identity() -> str:
    """What tells one offline corpus and version of the tools from another."""
    return digest([TOOLS_VERSION, *([d.source, d.title, d.text] for d in _documents())])


@cache
def _documents() -> tuple[Any, ...]:
    from sparkctl.nano import world

    return tuple(world.documents())


def policy_port(settings: Any, adapter: Path | None, memory: Memory, advance: Advance) -> Port:
    """The policy, with a LoRA adapter or without."""

    def open_port() -> Port:
        from sparkctl.backends.transformers_engine import TransformersEngine

        return TransformersEngine(
            settings.policy,
            dtype=settings.dtype,
            device=settings.device,
            batch_size=settings.batch_size,
            adapter=adapter,
        )

    laid = digest_path(adapter) if adapter else None
    scope = digest(["policy", settings.engine, settings.dtype, policy_identity(settings.policy), laid])
    return remembered(lazy(open_port), memory, scope, chunk=POLICY_CHUNK, advance=advance)


def judge_port(settings: Any, tools: Tools, memory: Memory, advance: Advance) -> Port:
    """The judge: any litellm model; "nano/rubric" is answered in this process."""

    def open_port() -> Port:
        from sparkctl.backends.litellm_judge import LitellmJudge

        rubric = _rubric(tools) if settings.model == NANO_JUDGE else None
        return LitellmJudge(concurrency=settings.concurrency, timeout_s=settings.timeout_s, rubric=rubric)

    scope = digest(["judge", [RUBRIC_VERSION, corpus_identity()] if settings.model == NANO_JUDGE else None])
    return remembered(lazy(open_port), memory, scope, chunk=max(64, settings.concurrency), advance=advance)


def _rubric(tools: Tools) -> Any:
    from sparkctl.nano import judge

    box, one_at_a_time = _toolbox(tools), threading.Lock()

    def score(case: str) -> str:
        with one_at_a_time:
            return json.dumps(judge.score(json.loads(case), box))

    return score


def tools_port(settings: Tools, memory: Memory, advance: Advance) -> Port:
    """The eight tools. A tool that answers with an error has answered; only a broken tool is a failed call."""

    def open_port() -> Port:
        box = _toolbox(settings)

        def ask(requests: list[Request]) -> list[Reply]:
            observations = [box(request["tool_name"], request["query"]) for request in requests]
            return [Reply({"text": o.text, "ok": o.ok}, None, 0.0) for o in observations]

        return ask  # type: ignore[return-value]

    scope = digest(["tools", settings.backend, settings.hits, settings.limit, corpus_identity()])
    return remembered(lazy(open_port), memory, scope, chunk=64, advance=advance)


def _toolbox(settings: Tools) -> Any:
    from sparkctl.tools.toolbox import toolbox

    return toolbox(_documents(), hits=settings.hits, limit=settings.limit)
