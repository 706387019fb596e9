"""All eight tools behind one call that no query makes raise. What the policy's prompt says of each stands in tools.toml."""

import re
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from sparkctl.episode import TOOLS, one_line
from sparkctl.errors import SparkError
from sparkctl.tools.observation import Document, Observation, ToolFailed
from sparkctl.tools.python_repl import PythonRepl
from sparkctl.tools.retrieval import Retrieval

MAX_QUERY = 20_000
"""Characters of a query; a longer one is refused before a tool sees it."""

_RETRIEVAL = ("search", "wikipedia", "semantic_scholar", "static_kb")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")

Tool = Callable[[str], Observation]


class Toolbox:
    """Answers a tool's name and a query. A tool is built at its first call and kept until `close`."""

    def __init__(self, documents: Iterable[Document] = (), *, hits: int = 1, limit: int = 600) -> None:
        if hits < 1 or limit < 1:
            raise SparkError(f"toolbox: hits and limit must be at least 1, not hits={hits}, limit={limit}")
        self._hits, self._limit = hits, limit
        self._documents: dict[str, list[Document]] = {name: [] for name in _RETRIEVAL}
        for document in documents:
            if document.source not in self._documents:
                raise SparkError(
                    f"document '{document.title[:60]}': source '{document.source}' is none of {_RETRIEVAL}"
                )
            self._documents[document.source].append(document)
        self._tools: dict[str, Tool] = {}

    def __call__(self, tool_name: str, query: str) -> Observation:
        """The tool's observation, on one line of at most `limit` characters.

        Raises SparkError for an unknown tool name and for a tool that cannot work here, ToolFailed for a call that
        came to nothing for a reason outside the query.
        """
        if tool_name not in TOOLS:
            raise SparkError(f"unknown tool '{tool_name[:60]}': there are {', '.join(TOOLS)}")
        observation = self._answer(tool_name, query)
        return Observation(one_line(_clean(observation.text), self._limit), observation.ok)

    def prepare(self, name: str) -> None:
        """Build a tool now, which its first call would do. Raises SparkError where it cannot work on this machine."""
        if name not in self._tools:
            self._tools[name] = self._built(name)

    def close(self) -> None:
        """End what runs and free the indexes. A later call builds them again."""
        for tool in self._tools.values():
            if isinstance(tool, PythonRepl | Retrieval):
                tool.close()
        self._tools.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, name: str, query: str) -> Observation:
        if not query.strip():
            return Observation("error: empty query", ok=False)
        if len(query) > MAX_QUERY:
            return Observation(f"error: query too long: {len(query)} characters, at most {MAX_QUERY}", ok=False)
        self.prepare(name)
        try:
            return self._tools[name](query)
        except ToolFailed:
            raise  # a call that failed for a reason outside the query is no observation
        except Exception as error:  # the boundary: whatever a string does to a tool, the rollout goes on
            return Observation(f"error: {name} failed ({type(error).__name__})", ok=False)

    def _built(self, name: str) -> Tool:
        if name == "python_repl":
            repl = PythonRepl()
            if fault := repl.fault():
                raise SparkError(fault)
            return repl
        if name in _RETRIEVAL:
            return Retrieval(self._documents[name], hits=self._hits)
        return _computing(name)


def toolbox(documents: Iterable[Document] = (), *, hits: int = 1, limit: int = 600) -> Toolbox:
    """Eight tools over these documents. `hits`: documents per observation; `limit`: characters per observation."""
    return Toolbox(documents, hits=hits, limit=limit)


def _computing(name: str) -> Tool:
    """Imports sympy or pint, which takes up to half a second."""
    if name == "calculator":
        from sparkctl.tools.calculator import calculator

        return calculator
    if name == "unit_converter":
        from sparkctl.tools.unit_converter import unit_converter

        return unit_converter
    from sparkctl.tools.wolfram_alpha import wolfram_alpha

    return wolfram_alpha


def _clean(text: str) -> str:
    """Text that every store and tokenizer takes: no lone surrogate, no control character."""
    return _CONTROL.sub(" ", text).encode("utf-8", "replace").decode()
