"""Any tool of a Model Context Protocol server as one of our tools: a query in, what the tool says out.

The official SDK speaks the protocol. One session stays open in a thread with its own event loop: a server over stdio is a
process of ours, started at opening and ended by `close`; it is given the few variables that the SDK thinks safe (PATH,
HOME, ...) and those named in `env`. A server over HTTP is asked at the address that the user named and no other: the SDK
follows redirects within that origin only, and proxies of the environment are ignored, as in `public_http`.

A server that ends is started once more for the call that met its end, which is then asked again; a second end fails the
call. After a call that ran out of time the server is started anew at the next, for it may still be at work on the last.
"""

import atexit
import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as OutOfTime
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from typing import Any, Protocol

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from sparkctl.errors import SparkError, did_you_mean
from sparkctl.tools.observation import Observation, ToolFailed

OPENING_S = 30.0
"""Seconds that a server has to start and tell its tools."""
MAX_CHARACTERS = 100_000
"""Of what a tool says."""
_ENDING_S = 10.0
"""Seconds that ending a server may take; the SDK closes its input, waits, terminates, kills."""


class McpSettings(Protocol):
    """What a tool's table in tools.toml says of an MCP server's tool."""

    @property
    def command(self) -> tuple[str, ...] | None:
        """The words that start a server over stdio; or else `url`."""

    @property
    def url(self) -> str | None:
        """The address of a server over streamable HTTP."""

    @property
    def tool(self) -> str:
        """The name of the tool there."""

    @property
    def argument(self) -> str:
        """The name of its argument, a string, that takes the query."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Further arguments, the same at each call."""

    @property
    def env(self) -> tuple[str, ...]:
        """Names of environment variables that the server is given."""


class McpTool:
    """One tool of one server, over a session that is kept. Several threads may call at once."""

    def __init__(self, settings: McpSettings, *, timeout_s: float) -> None:
        _check(settings)
        self._settings, self._timeout_s = settings, timeout_s
        self._secrets = _environment(settings)
        self._lock = threading.Lock()
        self._closed = False
        self._session: _Session | None = None
        self._resources = ExitStack()
        self._portal = self._resources.enter_context(start_blocking_portal())
        atexit.register(self.close)
        try:
            with self._using() as session:
                _check_tool(settings, session.tools)
        except BaseException as fault:
            self.close()
            if isinstance(fault, ToolFailed):
                raise SparkError(str(fault)) from None
            raise

    def __call__(self, query: str) -> Observation:
        """What the tool says; ok=False where it says that it is an error. Raises ToolFailed where it says nothing."""
        with suppress(_Ended):
            return self._asked(query)
        try:
            return self._asked(query)
        except _Ended:
            raise self._failed("the server ended twice during the call") from None

    def close(self) -> None:
        """End the session and the server's process."""
        atexit.unregister(self.close)
        self._closed = True
        if self._session is not None:
            self._session.close()
            self._session = None
        with suppress(RuntimeError):  # closed before
            self._portal.call(self._portal.stop, True)
        self._resources.close()

    def _asked(self, query: str) -> Observation:
        arguments = {**self._settings.arguments, self._settings.argument: query}
        with self._using() as session:
            try:
                result = session.call(self._settings.tool, arguments, self._timeout_s)
            except OutOfTime:
                self._give_up(session)
                raise self._failed(f"no answer within {self._timeout_s:g} s") from None
            except _Ended:
                self._give_up(session)
                raise
            except Exception as fault:  # the SDK says what is wrong with an answer by errors of many kinds
                if self._settings.url:  # it may have been started anew there, and not know our session
                    self._give_up(session)
                raise self._failed(_told(fault)) from None
        return Observation(self._cleaned(_text(result))[:MAX_CHARACTERS], ok=not result.is_error)

    @contextmanager
    def _using(self) -> Iterator["_Session"]:
        """The session, opened where there is none. One that was given up ends when its last call has."""
        with self._lock:
            session = self._session = self._session or self._connected()
            session.users += 1
        try:
            yield session
        finally:
            with self._lock:
                session.users -= 1
                unused = session is not self._session and not session.users
            if unused:
                session.close()

    def _give_up(self, session: "_Session") -> None:
        """Let the next call open another."""
        with self._lock:
            if self._session is session:
                self._session = None

    def _connected(self) -> "_Session":
        if self._closed:
            raise self._failed("the tool is closed")
        session = _Session(self._portal, self._settings, self._secrets)
        try:
            session.open()
        except Exception as fault:
            session.close()
            reason = "not started" if isinstance(fault, OutOfTime) else _told(fault)
            raise self._failed(f"{reason}{session.last_words}") from None
        return session

    def _failed(self, reason: str) -> ToolFailed:
        return ToolFailed(self._cleaned(f"mcp server {_name(self._settings)}: {' '.join(reason.split())[:300]}"))

    def _cleaned(self, text: str) -> str:
        """The text without what the variables in `env` hold."""
        for name, value in self._secrets.items():
            text = text.replace(value, f"({name})")
        return text


def open_mcp(settings: McpSettings, *, timeout_s: float) -> McpTool:
    """The tool that the settings name, its server connected. `timeout_s`: seconds for one call.

    Raises SparkError in one line where the server cannot be reached or has no such tool or argument.
    """
    return McpTool(settings, timeout_s=timeout_s)


class _Ended(Exception):
    """The server is gone."""


class _Session:
    """A connected client, entered and left by one task of the portal's loop, as the SDK must have it."""

    def __init__(self, portal: BlockingPortal, settings: McpSettings, env: Mapping[str, str]) -> None:
        self._portal, self._settings, self._env = portal, settings, dict(env)
        self._opened: Future[tuple[Any, list[Any]]] = Future()
        self._stop = portal.call(anyio.Event)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `close`
        self.last_words = ""
        """Once closed: in brackets, the last line that the server wrote to stderr."""
        self._running: Future[None] | None = None
        self._client: Any = None
        self.tools: list[Any] = []
        self.users = 0

    def open(self) -> None:
        """Connect and list the tools. Raises OutOfTime, or whatever the connection does."""
        self._running = self._portal.start_task_soon(self._serve)
        self._client, self.tools = self._opened.result(OPENING_S)

    def call(self, tool: str, arguments: Mapping[str, Any], timeout_s: float) -> Any:
        """The tool's result. Raises _Ended, OutOfTime, or what the SDK does."""
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED

        running = self._running
        if running is None or running.done():
            raise _Ended
        asked = self._portal.start_task_soon(self._client.call_tool, tool, dict(arguments))
        try:
            return asked.result(timeout_s)
        except OutOfTime:
            asked.cancel()
            raise
        except (CancelledError, anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise _Ended from None
        except MCPError as fault:
            if fault.code == CONNECTION_CLOSED:
                raise _Ended from None
            raise

    def close(self) -> None:
        """End the session and wait until the server has ended."""
        running, self._running = self._running, None
        if running is None:  # closed by another thread
            return
        with suppress(Exception, CancelledError):
            self._portal.call(self._stop.set)
            running.result(_ENDING_S if self._opened.done() else 0)
        running.cancel()
        file = self._errors.fileno()
        told = os.pread(file, 5000, max(0, os.fstat(file).st_size - 5000)).decode("utf-8", "replace")
        lines = [line.strip() for line in told.splitlines() if line.strip()]
        self.last_words = f" ({lines[-1][:200]})" if lines else ""
        self._errors.close()

    async def _serve(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                client = await self._connected(stack)
                tools = await _tools(client)
                self._opened.set_result((client, tools))
                await self._stop.wait()
        except BaseException as fault:
            if not self._opened.done():
                self._opened.set_exception(_first(fault))
            if not isinstance(fault, Exception):
                raise

    async def _connected(self, stack: AsyncExitStack) -> Any:
        import httpx2
        from mcp import Client, StdioServerParameters
        from mcp.client.stdio import stdio_client
        from mcp.client.streamable_http import streamable_http_client

        if self._settings.command:
            program, *words = self._settings.command
            started = StdioServerParameters(command=program, args=words, env=self._env)
            return await stack.enter_async_context(Client(stdio_client(started, self._errors)))
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=OPENING_S))
        transport = streamable_http_client(str(self._settings.url), http_client=http)
        return await stack.enter_async_context(Client(transport))


async def _tools(client: Any) -> list[Any]:
    """All tools, page by page."""
    page = await client.list_tools()
    found = list(page.tools)
    while page.next_cursor and len(found) < 10_000:
        page = await client.list_tools(cursor=page.next_cursor)
        found += page.tools
    return found


def _check(settings: McpSettings) -> None:
    if bool(settings.command) == bool(settings.url):
        raise SparkError("mcp: needs either `command` or `url`, and not both; see tools.toml")
    if settings.url and not settings.url.startswith(("http://", "https://")):
        raise SparkError("mcp.url: is not an address; give one such as https://example.org/mcp")
    if settings.argument in settings.arguments:
        raise SparkError(f"mcp.arguments: '{settings.argument}' takes the query; take it out of `arguments`")


def _environment(settings: McpSettings) -> dict[str, str]:
    missing = [name for name in settings.env if not os.environ.get(name)]
    if missing:
        raise SparkError(f"mcp.env: {missing[0]} is not in the environment; set it, or take it out of `env`")
    return {name: os.environ[name] for name in settings.env}


def _check_tool(settings: McpSettings, tools: Sequence[Any]) -> None:
    known = {tool.name: tool.input_schema for tool in tools}
    server = _name(settings)
    if settings.tool not in known:
        raise SparkError(f"mcp.tool: {server} has no tool '{settings.tool}'{did_you_mean(settings.tool, [*known])}")
    takes = known[settings.tool].get("properties", {})
    given = {settings.argument, *settings.arguments}
    for name in sorted(given - set(takes)):
        raise SparkError(f"mcp.argument: '{settings.tool}' takes no '{name}'{did_you_mean(name, [*takes])}")
    if not _takes_a_string(takes[settings.argument]):
        raise SparkError(f"mcp.argument: '{settings.argument}' of '{settings.tool}' takes no string; name another")
    for name in sorted(set(known[settings.tool].get("required", [])) - given):
        raise SparkError(f"mcp.arguments: '{settings.tool}' needs '{name}'; give it a value in `arguments`")


def _takes_a_string(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return schema is True
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return "string" in kinds or any(
        _takes_a_string(one) for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ()))
    )


def _name(settings: McpSettings) -> str:
    """How errors call the server: without its arguments or query, where secrets may stand."""
    if settings.command:
        return f"'{os.path.basename(settings.command[0])}'"
    return f"at {str(settings.url).split('?')[0].rpartition('@')[2]}"


def _text(result: Any) -> str:
    """Text parts joined; other parts are named, such as [image: image/png]. Where there are none, the structured result."""
    if not result.content and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(part.text if part.type == "text" else _named(part) for part in result.content)


def _named(part: Any) -> str:
    kind = getattr(part, "mime_type", None) or str(getattr(part, "uri", ""))
    return f"[{part.type}: {kind}]" if kind else f"[{part.type}]"


def _told(fault: BaseException) -> str:
    return str(fault) or type(fault).__name__


def _first(fault: BaseException) -> BaseException:
    """The first error of a group of a group: what went wrong, without the tasks around it."""
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault
