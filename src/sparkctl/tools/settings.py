"""The settings of the eight tools, one table each in tools.toml, shared by the stages that run them.

A tool is served by a *back end*: `offline` (this machine alone), `live` (a service on the network), `replay` (only
what was recorded), `mcp` (a tool of a Model Context Protocol server). Only what decides the answers of the back end in
use enters a key: time limits never do, and an offline corpus does by its bytes.
"""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from sparkctl.config.settings import Clash, Settings, Use
from sparkctl.tools.python import sandbox
from sparkctl.tools.python.sandbox import Wanted


class Mcp(Settings):
    """Which tool of which Model Context Protocol server takes the place."""

    knobs = frozenset({"env"})

    command: tuple[str, ...] | None = None
    """The server's program and its arguments; it speaks over its standard input and output. It is written into the
    footers of tables: a key belongs into `env`."""
    url: str | None = None
    """Of a server that runs already, over streamable HTTP."""
    tool: str
    """The name that the server gives it."""
    argument: str = "query"
    """Its argument, a string, that takes what the policy wrote."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Its further arguments, the same at each call."""
    env: tuple[str, ...] = ()
    """Names of environment variables that the server may see. Their values never stand in a file."""

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("give command or url, one of the two")
        if self.url is not None and any(mark in self.url for mark in "@?#"):
            raise ValueError("url must hold no user, password, key or query; it is written into every table's footer")
        return self


class Tool(Settings):
    """What every tool's table may hold."""

    knobs = frozenset({"timeout_s", "concurrency"})
    uses: ClassVar[tuple[Use, ...]] = (Use(("mcp",), lambda t: t.backend == "mcp", 'without backend = "mcp"'),)
    clashes = (
        Clash(
            lambda t: t.backend == "mcp" and t.mcp is None,
            'backend = "mcp" needs mcp.tool, and mcp.command or mcp.url',
        ),
    )

    backend: Literal["offline", "live", "replay", "mcp"] = "offline"
    timeout_s: float = Field(30.0, gt=0)
    """Knob: seconds for one call that leaves this process; what takes longer has failed, and is not recorded."""
    concurrency: int = Field(4, ge=1)
    """Knob: calls of `live` and `mcp` in flight."""
    mcp: Mcp | None = None


class Computing(Tool):
    """A tool that computes; there is no service of its kind to ask."""

    backend: Literal["offline", "replay", "mcp"] = "offline"


_LIMITS = ("sandbox", "cpu_s", "wall_s", "memory_mb")


class Python(Computing):
    """The process that runs a policy's Python."""

    # Not refused: the embedded judge has a process of its own, with the same limits, whatever the back end here.
    uses = (*Tool.uses, Use(_LIMITS, lambda t: t.backend == "offline"))

    sandbox: Wanted = "auto"
    """bwrap, landlock: a sandbox, the first is stronger. auto: the strongest that works here, else off. off: every call is
    refused. none: limits only; the code may read your files and use the network."""
    cpu_s: int = Field(2, ge=1)
    """Seconds of computing."""
    wall_s: float | None = Field(None, gt=0)
    """Seconds in all; default: five times those of computing, and 5 s more."""
    memory_mb: int = Field(512, ge=64)
    """Memory, MiB, with what the interpreter itself takes: 20, or 170 with numpy and sympy."""

    def limits(self) -> dict[str, Any]:
        """What `python_repl.opened` is called with."""
        return self.model_dump(include=set(_LIMITS))

    def identity(self) -> dict[str, Any]:
        """With the mode that is used on this machine, whatever was wanted: a weaker one answers otherwise. Finding that out
        starts a process (see sandbox.py). Where the tool is off nothing else decides."""
        known = super().identity()
        if "sandbox" not in known:
            return known
        mode = sandbox.found("auto").name if self.sandbox == "auto" else self.sandbox
        return {"backend": self.backend, "sandbox": mode} if mode == "off" else known | {"sandbox": mode}


class Service(Tool):
    """A tool that a service on the network can answer."""

    knobs = Tool.knobs | {"min_interval_s", "contact"}
    uses = (*Tool.uses, Use(("url",), lambda t: t.backend == "live", 'without backend = "live"'))

    url: str | None = None
    """Another address of the service: a mirror, a SearXNG server. Default: the public one."""
    min_interval_s: float | None = Field(None, ge=0)
    """Knob: seconds between two requests; default: what the service asks for."""
    contact: str | None = None
    """Knob: an address or page that the service can reach you at, as part of the user agent."""


_CORPUS = Use(("corpus",), lambda t: t.backend == "offline", 'without backend = "offline"')


class Facts(Computing):
    """A tool that looks into a corpus on this machine."""

    knobs = Computing.knobs | {"corpus"}
    uses = (*Computing.uses, _CORPUS)

    corpus: str | None = None
    """Parquet file with the columns `title` and `text`; default: the small embedded one. Its bytes decide."""


class Search(Service):
    """A tool that looks into a corpus, or asks a service."""

    knobs = Service.knobs | {"corpus"}
    uses = (*Service.uses, _CORPUS)

    corpus: str | None = None
    """As for static_kb."""


class Tools(Settings):
    """Back ends and bounds, from tools.toml."""

    hits: int = Field(1, ge=1)
    """Documents that a retrieval tool shows."""
    limit: int = Field(600, ge=1)
    """Characters of an observation; the rest is cut and marked."""
    calculator: Computing = Computing()  # type: ignore[call-arg]
    python_repl: Python = Python()  # type: ignore[call-arg]
    wolfram_alpha: Service = Service()  # type: ignore[call-arg]
    search: Search = Search()  # type: ignore[call-arg]
    wikipedia: Search = Search()  # type: ignore[call-arg]
    semantic_scholar: Search = Search()  # type: ignore[call-arg]
    static_kb: Facts = Facts()  # type: ignore[call-arg]
    unit_converter: Computing = Computing()  # type: ignore[call-arg]
    descriptions: dict[str, str]
    """Action -> the line that the policy's prompt says of it."""

    def of(self, name: str) -> Tool:
        """The table of a tool."""
        table: Tool = getattr(self, name)
        return table
