"""The tiny student, which half knows arithmetic and records, and what it was made with: its noisy demonstrator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import Register


@hookimpl
def register_teachers(register: Register) -> None:
    """The teacher `noisy-demonstrator`."""
    from mentor_kit_tiny import components
    from mentor_kit_tiny.noisy_demonstrator import NoisyDemonstratorOptions

    register(
        "noisy-demonstrator",
        options=NoisyDemonstratorOptions,
        build=components.build_noisy_demonstrator,
        summary="makes mistakes on arithmetic and records at given rates; its transcripts train the tiny student",
    )


@hookimpl
def register_students(register: Register) -> None:
    """The students `tiny-student` and `tiny-blank`."""
    from mentor_kit_tiny import components

    register(
        "tiny-student",
        build=components.tiny_student,
        summary="0.8 M parameters; solves some arithmetic and some questions about records, uses odd tools",
    )
    register(
        "tiny-blank", build=components.tiny_blank, summary="the same with random weights, to be trained from nothing"
    )
