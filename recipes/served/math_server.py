"""An MCP server with the twelve mathematical tools, spoken to over stdio: put your own functions in their place."""

from __future__ import annotations

from mcp.server import MCPServer
from mentor_kit_math.operations import math_tools

server = MCPServer("math")
for tool in math_tools(decimals=2):
    server.add_tool(tool.function, name=tool.name, description=tool.description)

if __name__ == "__main__":
    server.run("stdio")
