"""Teachers that need no network: the task's own worked solutions, and recorded demonstrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from pydantic import BaseModel

    from mentor_kit.hooks import BuildContext, Register
    from mentor_kit_teachers.scripted import ScriptedTeacher


@hookimpl
def register_teachers(register: Register) -> None:
    """`scripted` and `recorded`."""
    from mentor_kit_teachers.recorded import RecordedOptions, recorded

    register("scripted", build=_scripted, summary="plays the task's own worked solutions, with the real tools")
    register(
        "recorded",
        options=RecordedOptions,
        build=recorded,
        summary="demonstrations from a file: demonstrations.jsonl, or the MENTOR authors' parquet format",
    )


def _scripted(options: BaseModel, context: BuildContext) -> ScriptedTeacher:
    from mentor_kit_teachers.scripted import scripted  # playing needs the rollout, which is not light

    return scripted(context)
