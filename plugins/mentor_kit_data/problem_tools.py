"""The tools `problem-tools`: a problem's own Python functions, run in worker processes.

A problem's `extra` has `func_schemas` (its tools' names, descriptions and parameters) and `env` (a module's source
that defines functions of these names). Without state every call sees the source run afresh.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any, Literal

from mentor_kit_tools.functions import default_workers, tools_of
from mentor_kit_tools.limits import Limits
from mentor_kit_tools.runner import Caller, Runner
from pydantic import ConfigDict, Field

from mentor_kit.core.errors import PluginError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.task import Problem
from mentor_kit.core.tool import Tool, ToolError
from mentor_kit.core.toolbox import ToolSession, ToolSource
from mentor_kit.hooks.registry import BuildContext
from mentor_kit_data.authors import SCHEMAS, SOURCE


class ProblemToolsOptions(OptionModel):
    """Tools from the problems themselves."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    state: Literal["none", "episode"] = "none"
    """none: every call runs the source afresh. episode: each episode has a process of its own, and its functions
    may keep state from call to call."""
    workers: int = Field(default_factory=default_workers, gt=0)
    """Calls that run concurrently; by default one a processor of this machine, and at most four."""
    limits: Limits = Limits()
    """Limits of one call."""


def build(options: ProblemToolsOptions, context: BuildContext) -> ProblemTools:
    """The source of tools, with the first worker running."""
    own = options.state == "episode"
    try:
        runner = Runner(f"{__name__}:serve", {"keep": own}, limits=options.limits, workers=options.workers)
    except ToolError as error:
        raise PluginError(f"tools problem-tools: no worker can be started: {error}") from None
    return ProblemTools(runner, own_process=own)


class ProblemTools(ToolSource):
    """The tools that each problem brings."""

    def __init__(self, runner: Runner, *, own_process: bool = False) -> None:
        self.runner = runner
        self._own_process = own_process

    def close(self) -> None:
        """End the runner's processes."""
        self.runner.close()

    def tools(self, problem: Problem) -> Sequence[Tool]:
        return tools_of(problem.extra.get(SCHEMAS) or ())

    @asynccontextmanager
    async def open(self, problem: Problem, seed: int) -> AsyncIterator[ToolSession]:
        source = str(problem.extra.get(SOURCE) or "")
        if self._own_process:
            async with self.runner.own() as worker:
                yield _Session(worker, source)
        else:
            yield _Session(self.runner, source)


@dataclass(frozen=True)
class _Session:
    caller: Caller
    source: str

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        return await self.caller.call(name, {"source": self.source, "arguments": dict(arguments)})


def serve(setup: Mapping[str, Json]) -> Sources:
    """In the worker: a program that runs sources."""
    return Sources(keep=bool(setup["keep"]))


class Sources:
    """A `mentor_kit_tools.worker.Program` that calls functions of a source.

    Args:
        keep: whether what a source has bound is kept for its next call.
    """

    catalogue: Json = None

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._kept: dict[str, dict[str, Any]] = {}

    def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        source = str(arguments["source"])
        names = self._kept.get(source)
        if names is None:
            names = {"__name__": "problem_tools"}
            exec(_compiled(source), names)
            if self._keep:
                self._kept[source] = names
        function = names.get(name)
        if not callable(function):
            raise ToolError(f"{name} is not defined by the problem's source")
        return function(**arguments["arguments"])


@lru_cache(256)
def _compiled(source: str) -> CodeType:
    return compile(source, "<problem>", "exec")
