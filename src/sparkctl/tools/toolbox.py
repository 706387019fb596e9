"""All eight tools behind one call. What the policy's prompt says of each stands in tools.toml.

A query's fault is an observation, which the policy reads and learns from. A call that came to nothing for any other
reason raises ToolFailed: it is no observation, and nobody must remember it as one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from sparkctl.errors import SparkError
from sparkctl.method.episode import TOOLS, one_line
from sparkctl.tools.observation import Document, Observation, ToolFailed
from sparkctl.tools.offline.retrieval import Retrieval
from sparkctl.tools.python.repl import opened

Tool = Callable[[str], Observation]
Opener = Callable[[], Tool]


@dataclass(frozen=True)
class Argument:
    """What a tool takes: in words, and at most how many characters of it."""

    kind: str
    longest: int


_KEY_WORDS = Argument("key words", 2_000)
ARGUMENTS = {
    "calculator": Argument("one arithmetic expression", 1_000),
    "python_repl": Argument("Python source", 20_000),
    "wolfram_alpha": Argument("an equation or a question", 1_000),
    "search": _KEY_WORDS,
    "wikipedia": _KEY_WORDS,
    "semantic_scholar": _KEY_WORDS,
    "static_kb": _KEY_WORDS,
    "unit_converter": Argument("NUMBER UNIT to UNIT", 200),
}
RETRIEVAL = tuple(name for name in TOOLS if ARGUMENTS[name] is _KEY_WORDS)


class Toolbox:
    """Answers a tool's name and a query. A tool is opened at its first call and kept until `close`."""

    def __init__(self, openers: Mapping[str, Opener], *, limit: int = 600) -> None:
        """`limit`: characters of an observation."""
        self._openers, self._limit = openers, limit
        self._tools: dict[str, Tool] = {}

    def __call__(self, tool_name: str, query: str) -> Observation:
        """The tool's observation, on one line of at most `limit` characters.

        Raises ToolFailed where the call failed for a reason outside the query, and SparkError for an unknown tool and
        for one that cannot be opened.
        """
        if tool_name not in TOOLS:
            raise SparkError(f"unknown tool '{tool_name[:60]}': there are {', '.join(TOOLS)}")
        takes = ARGUMENTS[tool_name]
        if not query.strip():
            return Observation(f"error: empty input; {tool_name} takes {takes.kind}", ok=False)
        if len(query) > takes.longest:
            long = f"{len(query)} characters, where {tool_name} takes {takes.kind} of at most {takes.longest}"
            return Observation(one_line(f"error: input too long: {long}", self._limit), ok=False)
        observation = self._asked(tool_name, query)
        return Observation(one_line(observation.text, self._limit), observation.ok)

    def close(self) -> None:
        """End what runs and free the indexes. A later call opens them again."""
        for tool in self._tools.values():
            if end := getattr(tool, "close", None):
                end()
        self._tools.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, name: str) -> Tool:
        """The tool itself, opened if it was not. Raises SparkError where it cannot be."""
        if name not in self._tools:
            self._tools[name] = self._openers[name]()
        return self._tools[name]

    def _asked(self, name: str, query: str) -> Observation:
        tool = self.open(name)
        try:
            return tool(query)
        except (ToolFailed, SparkError):
            raise
        except Exception as error:  # the boundary: whatever a string does to a tool, the rollout goes on
            raise ToolFailed(f"{name} failed ({type(error).__name__})") from error


def toolbox(documents: Iterable[Document] = (), *, hits: int = 1, limit: int = 600) -> Toolbox:
    """The eight tools, all offline, over these documents. `hits`: documents per observation; `limit`: its characters."""
    if hits < 1 or limit < 1:
        raise SparkError(f"toolbox: hits and limit must be at least 1, not hits={hits}, limit={limit}")
    held: dict[str, list[Document]] = {name: [] for name in RETRIEVAL}
    for document in documents:
        if document.source not in held:
            raise SparkError(f"document '{document.title[:60]}': source '{document.source}' is none of {RETRIEVAL}")
        held[document.source].append(document)
    openers: dict[str, Opener] = {name: partial(computing, name) for name in TOOLS if name not in RETRIEVAL}
    openers |= {name: partial(Retrieval, held[name], hits=hits, limit=limit) for name in RETRIEVAL}
    return Toolbox(openers | {"python_repl": opened}, limit=limit)


def computing(name: str) -> Tool:
    """A tool that computes in this process. Imports sympy or pint, which takes up to half a second."""
    if name == "calculator":
        from sparkctl.tools.offline.calculator import calculator

        return calculator
    if name == "unit_converter":
        from sparkctl.tools.offline.unit_converter import unit_converter

        return unit_converter
    from sparkctl.tools.offline.wolfram_alpha import wolfram_alpha

    return wolfram_alpha
