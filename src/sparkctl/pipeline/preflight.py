"""Preflight: what the nodes that will run need of this machine, looked at before the first of them begins.

All that is missing is said at once, each with what to do; a run that would end after hours ends in its first second.
Nothing heavy is imported, nothing is sent, no model is opened: a package is looked for and not loaded, a key is there or
not, and of servers only those of this machine are knocked at. `sparkctl doctor` says the same with the same code.
"""

import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sparkctl.config.engines import Asked
from sparkctl.errors import Lacking, SparkError
from sparkctl.method.episode import TOOLS
from sparkctl.models import loading
from sparkctl.pipeline import graph
from sparkctl.pipeline.graph import Node
from sparkctl.pipeline.ports import tools as tool_ports
from sparkctl.pipeline.ports.judge import NANO_JUDGE
from sparkctl.storage import disks
from sparkctl.tools.python import sandbox as sandboxes
from sparkctl.tools.settings import Tools

_TO_FETCH = "to be fetched from the hub at its first use"
FAILS = "does not work"
_GIB = 2**30
LEAST_FREE_GIB = {True: 1, False: 5}
"""Whether the policy is the embedded one -> free disk that a run wants. The default run writes 0.1 GiB, the paper's some 3
(110,000 candidates with their tokens, twice: table and memory)."""
_KNOCK_S = 1.0

EXTRAS = {
    "vllm": "run 'make vllm', or pip install 'sparkctl[vllm]' on a machine with a GPU",
    "bitsandbytes": "pip install 'sparkctl[qlora]'",
    "tensorboard": "pip install 'sparkctl[tensorboard]'",
}
"""Packages that only some settings need -> how to have them."""
_OF_ENGINE = {"transformers": ("torch", "transformers"), "vllm": ("vllm",), "litellm": ("litellm", "openai")}
_KEY_OF = {
    "anthropic": "ANTHROPIC_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "groq": "GROQ_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "openai": "OPENAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "xai": "XAI_API_KEY",
}
"""litellm's name of a provider -> where its one key is looked for. Other providers know several ways; theirs is found out
when the judge is opened."""
_BARE = {"openai": re.compile(r"(gpt-|chatgpt-|o\d(-|$))"), "anthropic": re.compile(r"claude-")}
"""Provider -> the models that litellm takes for its own without a prefix."""
_TOKENIZERS = ("tokenizer*", "vocab*", "*.model", "tekken.json", "merges.txt")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `works` is None where it is not needed, or not known."""

    what: str
    works: bool | None
    says: str
    do: str = ""
    """What to do where it does not work."""
    loud: bool = False
    """The run goes on, and says this in its first lines."""

    @property
    def line(self) -> str:
        """All of it in one line."""
        return self.do if self.says == FAILS else f"{self.what}: {self.says}" + (f"; {self.do}" if self.do else "")


def looked(what: str, look: Callable[[], str]) -> Finding:
    """What a look says; a SparkError is what is wrong and what to do, in one."""
    try:
        says = look()
    except SparkError as fault:
        return Finding(what, False, FAILS, str(fault))
    return Finding(what, True, says)


# ---- files -----------------------------------------------------------------------------------------------------------

_SPOKEN = {"model": "policy", "source": "questions"}


def _files(nodes: Sequence[Node]) -> Iterator[Finding]:
    """What was not there when the graph was laid."""
    missing = {line: _SPOKEN.get(what, what) for node in nodes for what, line in graph.missing(node).items()}
    yield from (Finding(what, False, FAILS, line) for line, what in missing.items())


def _policies(nodes: Sequence[Node]) -> Iterator[Finding]:
    """The policy's model, once for all that read it."""
    reading: dict[str, bool] = {}
    for node in nodes:
        if hasattr(node.settings, "policy") and "model" not in graph.missing(node):
            here = getattr(node.settings, "engine", "") != "litellm"  # a served model has its weights elsewhere
            reading[node.settings.policy] = reading.get(node.settings.policy, False) or here
    for policy, weights in reading.items():
        found = looked("policy", partial(_where, policy, weights))
        yield (
            replace(found, works=None, do="needs access to it", loud=True) if found.says.endswith(_TO_FETCH) else found
        )


def _where(policy: str, weights: bool) -> str:
    """Where a policy's model is; SparkError where part of it is missing."""
    source = Path(loading.resolve(policy))
    if source.is_dir():
        _check_whole(source, policy, weights)
        return "nano, embedded" if policy == loading.NANO else f"{policy}, a folder"
    from huggingface_hub import constants, try_to_load_from_cache

    cached = try_to_load_from_cache(policy, "config.json")
    if not constants.HF_HUB_OFFLINE:
        return f"{policy}, {'in the cache of the hub' if isinstance(cached, str) else _TO_FETCH}"
    if not isinstance(cached, str):
        raise SparkError(
            f"synth.policy: '{policy}' is no folder and not in the cache of the hub, and HF_HUB_OFFLINE forbids to "
            f"fetch it; unset that, or give a folder"
        )
    _check_whole(Path(cached).parent, policy, weights)
    return f"{policy}, in the cache of the hub"


def _check_whole(folder: Path, policy: str, weights: bool) -> None:
    wanted = {"config.json": ("config.json",), "a tokenizer": _TOKENIZERS} | ({"weights": _WEIGHTS} if weights else {})
    lacks = [what for what, forms in wanted.items() if not any(any(folder.glob(form)) for form in forms)]
    lacks += [part for part in _parts(folder) if weights and not (folder / part).is_file()][:1]
    if lacks:
        raise SparkError(f"synth.policy: '{policy}' is not whole, it lacks {', '.join(lacks)}; fetch or copy it again")


def _parts(folder: Path) -> list[str]:
    """The files that weights in several parts lie in, by their index."""
    try:
        return sorted({part for index in folder.glob("*.index.json") for part in _mapped(index)})
    except (OSError, ValueError, KeyError, AttributeError):
        return []  # no index that we can read; the library that opens the model will say more


def _mapped(index: Path) -> list[str]:
    return list(json.loads(index.read_text())["weight_map"].values())


# ---- packages --------------------------------------------------------------------------------------------------------


def _packages(nodes: Sequence[Node]) -> set[str]:
    """What will be imported."""
    found: set[str] = set()
    for node in nodes:
        settings: Any = node.settings
        found |= set(_OF_ENGINE.get(getattr(settings, "engine", ""), ()))
        found |= {"nf4": {"bitsandbytes"}, "fp8": {"vllm"}}.get(getattr(settings, "quantise", ""), set())
        if node.stage.name in ("reference", "train"):
            found |= {"torch", "transformers", "peft"}
        if getattr(settings, "tensorboard", False):
            found.add("tensorboard")
        if node.stage.name == "judge":
            found.add("litellm")
    return found


def package(name: str, *, needed: bool) -> Finding:
    """Whether a package is there. It is looked for, not imported."""
    if find_spec(name) is None:
        todo = EXTRAS.get(name, "run 'make setup', or pip install sparkctl again")
        return Finding(name, False if needed else None, "not installed", todo)
    return Finding(name, True, next(iter(filter(None, map(version, (name, f"{name}-cpu")))), "installed"))


def version(name: str) -> str | None:
    """The version of an installed package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


# ---- who is asked ----------------------------------------------------------------------------------------------------


def judge(model: str) -> Finding:
    """Whether a judge has its key, and its server where that is on this machine."""
    if model == NANO_JUDGE:
        return Finding("judge", True, f"{model}, embedded")
    provider = _provider(model)
    key = _KEY_OF.get(provider, "")
    if key and not os.environ.get(key):
        return Finding("judge", False, FAILS, f"judge.model '{model}': set {key} in the environment")
    address = os.environ.get("OPENAI_API_BASE") or os.environ.get("OPENAI_BASE_URL") if provider == "openai" else None
    if address and not answers(address):
        return Finding("judge", False, FAILS, f"judge.model '{model}': nothing listens at {address}; start its server")
    return Finding("judge", None, f"{model}, not asked")


def _provider(model: str) -> str:
    prefix, slash, _ = model.partition("/")
    return prefix if slash else next((name for name, form in _BARE.items() if form.match(model)), "")


def server(asked: Asked) -> Finding:
    """Whether the policy's server is there, where it is on this machine."""
    address = asked.litellm.api_base
    if answers(address):
        return Finding("policy server", None, f"{address}, not asked")
    return Finding("policy server", False, FAILS, f"synth.litellm.api_base: nothing listens at {address}; start it")


def answers(address: str) -> bool:
    """Whether somebody listens at an address of this machine; what is elsewhere is not asked and taken to be there."""
    try:
        place = urlsplit(address)
        host, port = place.hostname or "", place.port or {"https": 443}.get(place.scheme, 80)
    except ValueError:
        return True  # no address at all: said by who opens it
    if host != "localhost" and not host.startswith("127.") and host != "::1":
        return True
    try:
        socket.create_connection((host, port), _KNOCK_S).close()
    except OSError:
        return False
    return True


def sandbox(tools: Tools) -> Finding:
    """How Python that a model wrote is shut in."""
    try:
        mode = sandboxes.found(tools.python_repl.sandbox)
    except SparkError as fault:
        return Finding("sandbox", False, FAILS, str(fault))
    works = None if mode.name in ("none", "off") else True
    return Finding("sandbox", works, mode.warning or mode.name, loud=mode.warning is not None)


def tool(name: str, tools: Tools) -> Finding:
    """Whether a tool that others serve has its key, its program, its server of this machine. Nothing is started."""
    settings = tools.of(name)
    if settings.backend == "live":
        return looked(name, lambda: tool_ports.outside(name, tools).close() or "live")  # type: ignore[attr-defined]
    if settings.backend == "mcp":
        return looked(name, lambda: _mcp(name, settings.mcp))
    return Finding(name, True, settings.backend)


def _mcp(name: str, server: Any) -> str:
    if server.command and shutil.which(server.command[0]) is None:
        raise SparkError(f"tools.{name}.mcp.command: no program '{server.command[0]}'; install it, or give its path")
    if missing := [variable for variable in server.env if not os.environ.get(variable)]:
        raise SparkError(f"tools.{name}.mcp.env: set {' and '.join(missing)} in the environment")
    if server.url and not answers(server.url):
        raise SparkError(f"tools.{name}.mcp.url: nothing listens at {server.url}; start the server")
    return "mcp"


# ---- room ------------------------------------------------------------------------------------------------------------


def _writable(data: Path) -> Finding:
    there = _there(data)
    works = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    todo = (
        "" if works else f"--data '{data}': {there} cannot be written; choose another folder, or mend its permissions"
    )
    return Finding("data", works, str(data) if works else FAILS, todo)


def _disk(data: Path, nodes: Sequence[Node]) -> Finding:
    free = shutil.disk_usage(_there(data)).free / _GIB
    wanted = LEAST_FREE_GIB[all(getattr(node.settings, "policy", loading.NANO) == loading.NANO for node in nodes)]
    todo = "" if free >= wanted else f"a run wants {wanted}; make room, or choose another --data"
    return Finding("disk", free >= wanted, f"{free:.1f} GiB free at {data}", todo)


def _shared(data: Path) -> Iterator[Finding]:
    if kind := disks.shared(data):
        says = f"--data '{data}' is on a disk that machines may share ({kind}): replies are remembered without a write-ahead log"
        yield Finding(
            "network disk", None, says, "work in it from one machine at a time; a local disk is faster", loud=True
        )


def _there(data: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (data.absolute(), *data.absolute().parents) if path.exists())


# ---- all of it -------------------------------------------------------------------------------------------------------


def check(nodes: Sequence[Node], tools: Tools, data: Path, say: Callable[[str], None]) -> None:
    """Raise Lacking with all that these nodes need and have not; else say what one should know before they run."""
    found = list(examine(nodes, tools, data)) if nodes else []
    if lines := list(dict.fromkeys(finding.line for finding in found if finding.works is False)):
        raise Lacking(lines)
    for finding in found:
        if finding.loud:
            say(f"sparkctl: {finding.line}")


def examine(
    nodes: Sequence[Node],
    tools: Tools,
    data: Path,
    *,
    judge: Callable[[str], Finding] = judge,
    server: Callable[[Asked], Finding] = server,
    tool: Callable[[str, Tools], Finding] = tool,
) -> Iterator[Finding]:
    """What these nodes need, thing by thing. `judge`, `server`, `tool`: who looks at these; doctor looks deeper."""
    settings: list[Any] = [node.settings for node in nodes]
    lacking = {finding.what: finding for finding in _files(nodes)}
    yield from lacking.values()
    yield from _policies(nodes)
    yield from (package(name, needed=True) for name in sorted(_packages(nodes)))
    served = {asked.litellm.api_base: asked for asked in settings if getattr(asked, "engine", "") == "litellm"}
    yield from map(server, served.values())
    judges = sorted({node.settings.model for node in nodes if node.stage.name == "judge"})  # type: ignore[attr-defined]
    yield from map(judge, judges)
    runs_tools = any(node.stage.name in ("select", "eval") for node in nodes)
    if NANO_JUDGE in judges or (runs_tools and tools.python_repl.backend == "offline"):
        yield sandbox(tools)
    if runs_tools:
        yield from (tool(name, tools) for name in TOOLS if name not in lacking)
    yield _writable(data)
    yield _disk(data, nodes)
    yield from _shared(data)
