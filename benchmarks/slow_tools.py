"""A plugin for benchmarks: the mathematical tools, each of whose calls waits as one to a web service does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mentor_kit_math.operations import OPERATIONS, math_tools
from pydantic import Field

from mentor_kit.core.options import ToolOptions
from mentor_kit.core.tool import Tool
from mentor_kit.hooks import Register, hookimpl
from mentor_kit.hooks.registry import BuildContext


class SlowMathOptions(ToolOptions):
    """Twelve mathematical tools, each call of which takes a while."""

    seconds: float = Field(default=0.3, ge=0)
    """That a call waits; others are made meanwhile."""

    @property
    def tool_names(self) -> Sequence[str]:
        """The names of the tools."""
        return list(OPERATIONS)


@hookimpl
def register_tools(register: Register) -> None:
    """The tools `slow-math`."""
    register("slow-math", options=SlowMathOptions, build=_build, summary="mathematical tools that take a while")


def _build(options: SlowMathOptions, context: BuildContext) -> list[Tool]:
    found = math_tools(2)
    return [replace(tool, function=_slow(tool.function, options.seconds)) for tool in found if tool.function]


def _slow(function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    async def call(**arguments: Any) -> Any:
        await asyncio.sleep(seconds)
        return function(**arguments)

    return call
