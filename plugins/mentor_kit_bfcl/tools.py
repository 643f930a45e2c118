"""The tools `bfcl`: simulated services, a process for every episode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mentor_kit_tools.runner import Caller, Runner

from mentor_kit.errors import PluginError
from mentor_kit.record import Json
from mentor_kit.task import Problem
from mentor_kit.tool import Tool, ToolError, ToolSession
from mentor_kit_bfcl.options import BfclToolsOptions


class BfclTools:
    """A `mentor_kit.tool.ToolSource`; problems of one turn have none of its tools.

    Raises:
        PluginError: no worker can be started.
    """

    def __init__(self, options: BfclToolsOptions) -> None:
        try:
            self.runner = Runner("mentor_kit_bfcl.world:serve", None, limits=options.limits, workers=options.workers)
        except ToolError as error:
            raise PluginError(f"tools bfcl: no worker can be started: {error}") from None

    def tools(self, problem: Problem) -> Sequence[Tool]:
        held_back = problem.extra.get("held_back") or ()
        return [
            Tool(tool["name"], tool["description"], tool["parameters"], announced=tool["name"] not in held_back)
            for tool in problem.extra.get("tools") or ()
        ]

    @asynccontextmanager
    async def open(self, problem: Problem, seed: int) -> AsyncIterator[ToolSession]:
        setup = {name: problem.extra.get(name) for name in ("services", "state", "long")}
        async with self.runner.own() as worker:
            yield _Session(worker, setup)


@dataclass
class _Session:
    worker: Caller
    problem: Mapping[str, Json]
    past: list[Mapping[str, Json]] = field(default_factory=list)
    """Calls that came back, for a process that must begin anew."""

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        call = {"name": name, "arguments": dict(arguments)}
        value = await self.worker.call("execute", {"problem": self.problem, "past": list(self.past), **call})
        self.past.append(call)
        return value
