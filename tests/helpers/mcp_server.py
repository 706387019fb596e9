"""An MCP server, written with the official SDK, with tools that behave and tools that do not.

Run: python tests/helpers/mcp_server.py (stdio) or python tests/helpers/mcp_server.py http [PORT] (streamable HTTP on loopback; prints its
port).
"""

import os
import socket
import sys
import time

import anyio
from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("test")
calls = 0


@server.tool()
def shout(text: str, mark: str = "!") -> str:
    """Upper case."""
    return text.upper() + mark


@server.tool()
def count(text: str) -> str:
    """How many calls this process has had, and its id."""
    global calls
    calls += 1
    return f"{calls} {os.getpid()}"


@server.tool()
def told(text: str) -> str:
    """What an environment variable holds."""
    return os.environ.get(text, "nothing")


@server.tool()
def environment(text: str) -> str:
    """The names of all environment variables."""
    return " ".join(sorted(os.environ))


@server.tool()
def broken(text: str) -> str:
    """Raises."""
    raise ToolError(f"cannot do {text}")


@server.tool()
async def hang(text: str) -> str:
    """Answers `quick`, and nothing else."""
    if text != "quick":
        await anyio.sleep(3600)
    return "done"


@server.tool()
async def pause(text: str) -> str:
    """Waits so many seconds."""
    await anyio.sleep(float(text))
    return f"{text} {os.getpid()}"


@server.tool()
def stuck(text: str) -> str:
    """Blocks the whole server, but for `quick`."""
    if text != "quick":
        time.sleep(3600)
    return f"done {os.getpid()}"


@server.tool()
def crash(text: str) -> str:
    """Ends the process: always, or once, which a file whose name is the query remembers."""
    if text == "always":
        os._exit(3)
    try:
        os.close(os.open(text, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "survived"
    os._exit(3)


@server.tool(structured_output=False)
def mixed(text: str) -> list[object]:
    """Text, a picture, text."""
    return ["before", Image(data=b"\x89PNG", format="png"), "after"]


@server.tool()
def huge(text: str) -> str:
    """A million characters."""
    return "x" * 1_000_000


@server.tool()
def sums(a: int, b: int, note: str) -> int:
    """Needs numbers."""
    return a + b


@server.tool()
def perhaps(text: str | None = None) -> str:
    """An optional string."""
    return str(text)


def main() -> None:
    if sys.argv[1:2] == ["http"]:
        import uvicorn

        sockets = [socket.create_server(("127.0.0.1", int(sys.argv[2]) if sys.argv[2:] else 0))]
        print(sockets[0].getsockname()[1], flush=True)
        app = server.streamable_http_app()
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets)
    else:
        server.run()


if __name__ == "__main__":
    main()
