"""Teachers: the task's worked solutions, recorded demonstrations, models behind servers, and local models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl
from mentor_kit.hooks.references import missing_package

if TYPE_CHECKING:
    from pydantic import BaseModel

    from mentor_kit.hooks import BuildContext, Register
    from mentor_kit_teachers.local import LocalTeacher
    from mentor_kit_teachers.local_options import LocalOptions
    from mentor_kit_teachers.scripted import ScriptedTeacher
    from mentor_kit_teachers.server import ServerTeacher
    from mentor_kit_teachers.server_options import AnthropicOptions, OpenAIOptions


@hookimpl
def register_teachers(register: Register) -> None:
    """`scripted`, `recorded`, `openai`, `anthropic` and `local`."""
    from mentor_kit_teachers.local_options import LocalOptions, look_at_local
    from mentor_kit_teachers.recorded import RecordedOptions, look_at_recorded, recorded
    from mentor_kit_teachers.server_options import AnthropicOptions, OpenAIOptions

    register("scripted", build=_scripted, summary="plays the task's own worked solutions, with the real tools")
    register(
        "recorded",
        options=RecordedOptions,
        build=recorded,
        look=look_at_recorded,
        summary="demonstrations from a file (demonstrations.jsonl, the MENTOR authors' parquet), or of the task's rows",
    )
    register(
        "openai",
        options=OpenAIOptions,
        build=_openai,
        available=lambda: missing_package("openai", "openai"),
        summary="a model behind any server with OpenAI's chat completions",
    )
    register(
        "anthropic",
        options=AnthropicOptions,
        build=_anthropic,
        available=lambda: missing_package("anthropic", "anthropic"),
        summary="a model of Anthropic's",
    )
    register(
        "local",
        options=LocalOptions,
        build=_local,
        look=look_at_local,
        summary="a model on any backend, on this machine",
    )


def _scripted(options: BaseModel, context: BuildContext) -> ScriptedTeacher:
    from mentor_kit_teachers.scripted import scripted  # playing needs the rollout, which is not light

    return scripted(context)


def _openai(options: OpenAIOptions, context: BuildContext) -> ServerTeacher:
    from mentor_kit_teachers.servers import openai

    return openai(options, context)


def _anthropic(options: AnthropicOptions, context: BuildContext) -> ServerTeacher:
    from mentor_kit_teachers.servers import anthropic

    return anthropic(options, context)


def _local(options: LocalOptions, context: BuildContext) -> LocalTeacher:
    from mentor_kit_teachers.local import local

    return local(options, context)
