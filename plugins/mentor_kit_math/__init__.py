"""Mathematics: twelve tools, the arithmetic task, the tiny student and its noisy demonstrator."""

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


@hookimpl
def register_teachers(register: Register) -> None:
    """The teacher `noisy-demonstrator`."""
    from mentor_kit_math import components
    from mentor_kit_math.noisy_demonstrator import NoisyDemonstratorOptions

    register(
        "noisy-demonstrator",
        options=NoisyDemonstratorOptions,
        build=components.build_noisy_demonstrator,
        summary="makes mistakes on the arithmetic task at given rates; its transcripts train the tiny student",
    )


@hookimpl
def register_students(register: Register) -> None:
    """The students `tiny-student` and `tiny-blank`."""
    from mentor_kit_math import components

    register(
        "tiny-student",
        build=components.tiny_student,
        summary="0.8 M parameters; solves some arithmetic, uses odd tools",
    )
    register(
        "tiny-blank", build=components.tiny_blank, summary="the same with random weights, to be trained from nothing"
    )
