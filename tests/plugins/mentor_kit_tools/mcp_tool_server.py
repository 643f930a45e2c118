"""An MCP server with good and bad tools: `python mcp_tool_server.py [PORT]`, over stdio or HTTP."""

from __future__ import annotations

import os
import sys
import time

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("test tools")
kept: list[str] = []


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def keep(word: str) -> str:
    """Remember a word; gives all words so far."""
    kept.append(word)
    return " ".join(kept)


@server.tool()
def fail(reason: str) -> str:
    """Fail."""
    raise ToolError(reason)


@server.tool()
def variables() -> str:
    """The names of all environment variables."""
    return " ".join(sorted(os.environ))


@server.tool()
def number() -> int:
    """The number of the server's process."""
    return os.getpid()


@server.tool()
def leave() -> str:
    """End the server."""
    os._exit(3)


@server.tool()
def hang() -> str:
    """Hang."""
    time.sleep(10_000)
    return ""


@server.tool()
def flood() -> str:
    """A text of two megabytes."""
    return "spam " * (400 << 10)


@server.tool(name="calc/minus")
def minus(a: int, b: int) -> int:
    """Subtract."""
    return a - b


@server.tool(name="Take away")
def take_away(a: int, b: int) -> int:
    """Subtract, in other words."""
    return a - b


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
