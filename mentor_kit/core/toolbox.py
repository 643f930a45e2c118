"""Tool sources, tool sessions, and the toolbox that combines all sources of a recipe.

ToolSource    what a tools plugin builds: offers the tools of a problem, and opens sessions
ToolSession   one episode's own state: opened with the problem and a seed, closed with the episode
Toolbox       all sources of a recipe as one: checks calls against the schemas and opens sessions
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mentor_kit.core.conversation import CallState, ToolCall
from mentor_kit.core.errors import ExitCode, PluginError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import SCHEMA_HINT, Tool, ToolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mentor_kit.core.task import Problem


class ToolSession(Protocol):
    """The tools of one episode; may have state (a shopping cart, a browser, a file system)."""

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        """Return the value of a call whose name and arguments were checked: a string, or anything `json.dumps` takes.

        Raises:
            Exception: any exception is a failed call; a `ToolError`'s message is shown to the model as it is.
        """
        ...


class ToolSource(ABC):
    """Base class of tool sources, which tools plugins build.

    A source implements `tools` and `open`; `close` is optional.
    """

    @abstractmethod
    def tools(self, problem: Problem) -> Sequence[Tool]:
        """Return the tools that this source offers for a problem (most offer the same for all)."""

    @abstractmethod
    def open(self, problem: Problem, seed: int) -> AbstractAsyncContextManager[ToolSession]:
        """Open a session for one episode; `seed` is for tools that draw random numbers."""

    def close(self) -> None:
        """Free the source's resources, such as worker processes, at the end of the run. May be called twice."""
        return None


class FunctionTools(ToolSource):
    """A source of plain functions, or of tools made from them; keeps no state between calls."""

    def __init__(self, tools: Iterable[Tool | Callable[..., Any]]) -> None:
        self._tools = tuple(tool if isinstance(tool, Tool) else Tool.from_function(tool) for tool in tools)
        self._by_name = {tool.name: tool for tool in self._tools}

    def tools(self, problem: Problem) -> Sequence[Tool]:
        return self._tools

    @asynccontextmanager
    async def open(self, problem: Problem, seed: int) -> AsyncIterator[ToolSession]:
        yield self

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        function = self._by_name[name].function
        if function is None:
            raise ToolError(f"{name} is declared only and cannot be run")
        value = function(**arguments)
        return await value if inspect.isawaitable(value) else value


class ToolClash(PluginError):
    """Two sources offer tools with one name. `source` is the second one's index; None for the problem's own tools."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, *, hint: str, source: int | None) -> None:
        super().__init__(message, hint=hint)
        self.source = source


class Toolbox:
    """Combines all tool sources of a recipe.

    Args:
        sources: in the recipe's order.
        names: the sources' names in messages, such as those of the components that built them.
    """

    def __init__(self, sources: Sequence[ToolSource] = (), names: Sequence[str] = ()) -> None:
        self.sources = tuple(sources)
        self.names = tuple(names) or tuple(type(source).__name__ for source in sources)

    def tools(self, problem: Problem) -> dict[str, Tool]:
        """Return the tools of a problem by name, in a stable order; the problem's own tools come last.

        Where the problem's tools are bound, those of the recipe with their names take their places, and there are no
        others of the recipe.

        Raises:
            ToolClash: two of them have one name.
            PluginError: a source returns something other than tools, or a tool whose parameters are not a schema.
        """
        found: dict[str, Tool] = {}
        origins: dict[str, str] = {}
        offers: list[tuple[int | None, str, Any]] = [
            (index, name, source.tools(problem))
            for index, (source, name) in enumerate(zip(self.sources, self.names, strict=True))
        ]
        bound = {tool.name for tool in problem.tools if tool.bound}
        for index, origin, tools in [*offers, (None, "the problem", problem.declared_tools())]:
            if not isinstance(tools, Sequence) or not all(isinstance(tool, Tool) for tool in tools):
                raise PluginError(f"{origin}: returned {tools!r}; expected a list of `Tool`s")
            for tool in tools:
                if bound and (tool.name in found if index is None else tool.name not in bound):
                    continue
                if tool.name in found:
                    raise ToolClash(
                        f"problem {problem.id!r} has two tools called {tool.name!r}: "
                        f"one of {origins[tool.name]}, one of {origin}",
                        hint="remove one of the recipe's `tools`, or give its `prefix` or `rename` where it has them",
                        source=index,
                    )
                if tool.fault:
                    raise PluginError(
                        f"{origin}, tool {tool.name!r}: its parameters are not a JSON schema: {tool.fault}",
                        hint=SCHEMA_HINT,
                    )
                found[tool.name], origins[tool.name] = tool, origin
        return found

    def close(self) -> None:
        """Close all sources; no session may be opened afterwards."""
        for source in self.sources:
            source.close()

    @asynccontextmanager
    async def open(self, problem: Problem, seed: int) -> AsyncIterator[ToolSession]:
        """Open a session over the sessions of all sources, which are closed in reverse order."""
        async with AsyncExitStack() as stack:
            route: dict[str, ToolSession] = {}
            for source in self.sources:
                session = await stack.enter_async_context(source.open(problem, seed))
                route.update(dict.fromkeys((tool.name for tool in source.tools(problem)), session))
            yield _RoutedSession(route)


@dataclass(frozen=True)
class _RoutedSession:
    route: Mapping[str, ToolSession]

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        if name not in self.route:
            raise ToolError(f"{name} is declared only and cannot be run")
        return await self.route[name].call(name, arguments)


def check_call(call: ToolCall, tools: Mapping[str, Tool]) -> ToolCall:
    """Return a parsed call as VALID, UNKNOWN_TOOL or INVALID_ARGUMENTS; calls in later states unchanged.

    A malformed call stays malformed, unless its name could be read and no tool has it: it is UNKNOWN_TOOL then.
    """
    if call.state not in (CallState.PARSED, CallState.MALFORMED):
        return call
    nameless = call.state is CallState.MALFORMED and not call.name
    if call.name not in tools and not nameless:
        return call.at(CallState.UNKNOWN_TOOL, f"no tool is called {call.name!r}{did_you_mean(call.name, tools)}")
    if call.state is CallState.MALFORMED:
        return call
    reason = tools[call.name].check(call.arguments)
    return call.at(CallState.INVALID_ARGUMENTS, reason) if reason else call.at(CallState.VALID)
