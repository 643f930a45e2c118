"""Options and builders of this plugin's components."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ConfigDict, Field

from mentor_kit.core.options import TaskOptions, ToolOptions
from mentor_kit.core.tool import Tool
from mentor_kit.hooks.registry import BuildContext
from mentor_kit_math.arithmetic import ArithmeticTask
from mentor_kit_math.operations import OPERATIONS, math_tools


class MathOptions(ToolOptions):
    """Twelve mathematical tools."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decimals: int | None = Field(default=2, ge=0, le=12)
    """Results are rounded to so many digits after the point; null leaves them as they are."""

    @property
    def tool_names(self) -> list[str]:
        """The names of the tools."""
        return list(OPERATIONS)


class ArithmeticOptions(TaskOptions):
    """Chains of operations in words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    capacity_gap: bool = False
    """The teacher does most additions, subtractions and sums in its head, which a student cannot imitate."""
    blind_check: bool = False
    """In training a favourite mistake on some operations mostly gives the right answer; out of domain never."""

    @property
    def task_splits(self) -> Sequence[str]:
        """The splits of the task."""
        return ArithmeticTask.splits


def build_tools(options: MathOptions, context: BuildContext) -> list[Tool]:
    """The tools."""
    return math_tools(options.decimals)


def build_task(options: ArithmeticOptions, context: BuildContext) -> ArithmeticTask:
    """The task."""
    return ArithmeticTask(capacity_gap=options.capacity_gap, blind_check=options.blind_check)
