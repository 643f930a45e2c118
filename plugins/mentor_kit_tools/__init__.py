"""Tools that run outside the trainer: a module's functions, MCP servers, full-text search, a Python interpreter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.core.posix import posix_missing
from mentor_kit.hooks import hookimpl
from mentor_kit.hooks.references import missing_package

if TYPE_CHECKING:
    from mentor_kit.hooks import Register


@hookimpl
def register_tools(register: Register) -> None:
    """`python`, `mcp`, `search`, `code`."""
    from mentor_kit_tools import functions, interpreter, search, servers

    register(
        "python",
        options=functions.PythonOptions,
        build=functions.build,
        look=functions.look,
        summary="the typed functions of a Python module, in worker processes with limits",
        available=isolation_missing,
    )
    register(
        "mcp",
        options=servers.McpOptions,
        build=servers.build,
        look=servers.look,
        summary="the tools of an MCP server, over stdio or HTTP",
        available=lambda: missing("mcp", "mcp"),
    )
    register(
        "search",
        options=search.SearchOptions,
        build=search.build,
        look=search.look,
        summary="full-text search (BM25) in a local corpus",
        available=lambda: missing("bm25s", "search"),
    )
    register(
        "code",
        options=interpreter.CodeOptions,
        build=interpreter.build,
        summary="a Python interpreter for model-written code, without files and network",
        available=lambda: missing("pydantic_monty", "code"),
    )


def isolation_missing() -> str:
    """Why tools cannot be isolated here; empty if they can."""
    return posix_missing()


def missing(package: str, extra: str) -> str:
    """Why a part that needs a package cannot be used here, with the command that changes it; empty if it can."""
    return missing_package(package, extra) or isolation_missing()
