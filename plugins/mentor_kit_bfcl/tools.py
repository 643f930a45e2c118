"""The tools `bfcl`: simulated services in worker processes that all episodes share."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mentor_kit_tools.runner import Caller, Runner

from mentor_kit.core.errors import PluginError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit.core.tool import Tool, ToolError
from mentor_kit.core.toolbox import ToolSession, ToolSource
from mentor_kit_bfcl.options import BfclToolsOptions


class BfclTools(ToolSource):
    """The services of multi-turn problems; problems of one turn have none of its tools.

    Raises:
        PluginError: no worker can be started.
    """

    def __init__(self, options: BfclToolsOptions) -> None:
        try:
            self.runner = Runner("mentor_kit_bfcl.services:serve", None, limits=options.limits, workers=options.workers)
        except ToolError as error:
            raise PluginError(f"tools bfcl: no worker can be started: {error}") from None

    def close(self) -> None:
        """End the workers."""
        self.runner.close()

    def tools(self, problem: Problem) -> Sequence[Tool]:
        held_back = problem.extra.get("held_back") or ()
        return [
            Tool(tool["name"], tool["description"], tool["parameters"], announced=tool["name"] not in held_back)
            for tool in problem.extra.get("tools") or ()
        ]

    @asynccontextmanager
    async def open(self, problem: Problem, seed: int) -> AsyncIterator[ToolSession]:
        setup = {name: problem.extra.get(name) for name in ("services", "state", "long")}
        yield _Session(self.runner, setup, uuid.uuid4().hex)


@dataclass
class _Session:
    caller: Caller
    problem: Mapping[str, Json]
    episode: str
    """A name that no other episode has, not even of the same problem."""
    past: list[Mapping[str, Json]] = field(default_factory=list)
    """All calls so far, for a process that has not seen them."""

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        call = {"name": name, "arguments": dict(arguments)}
        about = {"problem": self.problem, "episode": self.episode, "past": list(self.past)}
        # what failed may have changed something, too
        self.past.append(call)
        return await self.caller.call("execute", {**about, **call})
