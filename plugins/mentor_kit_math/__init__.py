"""Mathematics: twelve tools, and the arithmetic task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import Register


@hookimpl
def register_tools(register: Register) -> None:
    """The tools `math`."""
    from mentor_kit_math import components

    register("math", options=components.MathOptions, build=components.build_tools, summary="twelve mathematical tools")


@hookimpl
def register_tasks(register: Register) -> None:
    """The task `arithmetic`."""
    from mentor_kit_math import components

    register(
        "arithmetic",
        options=components.ArithmeticOptions,
        build=components.build_task,
        summary="chains of one to three operations in words, with splits that ask for more than was trained",
    )
