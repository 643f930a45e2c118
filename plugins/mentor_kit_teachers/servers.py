"""Builds the teachers behind servers from their options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mentor_kit.hooks import BuildContext
from mentor_kit_teachers.answers import Answers, default_file
from mentor_kit_teachers.anthropic_messages import AnthropicMessages
from mentor_kit_teachers.api_protocols import ApiProtocol
from mentor_kit_teachers.openai_chat import OpenAIChat
from mentor_kit_teachers.server import ServerTeacher
from mentor_kit_teachers.server_options import AnthropicOptions, OpenAIOptions, ServerOptions


def openai(options: OpenAIOptions, context: BuildContext) -> ServerTeacher:
    """The teacher `openai`.

    Raises:
        MissingError: there is no key for OpenAI's own server.
        DataError: the file of answers cannot be opened.
    """
    protocol = OpenAIChat(
        options.model, options.url, options.needed_key("OPENAI_API_KEY"), options.request(), options.parser()
    )
    return _teacher("openai", protocol, options, options.server("https://api.openai.com/v1"), context)


def anthropic(options: AnthropicOptions, context: BuildContext) -> ServerTeacher:
    """The teacher `anthropic`; errors as for `openai`."""
    protocol = AnthropicMessages(options.model, options.url, options.needed_key("ANTHROPIC_API_KEY"), options.request())
    return _teacher("anthropic", protocol, options, options.server("https://api.anthropic.com"), context)


def _teacher(
    name: str, protocol: ApiProtocol, options: ServerOptions, server: str, context: BuildContext
) -> ServerTeacher:
    limits = context.limits
    return ServerTeacher(
        name=name,
        protocol=protocol,
        identity=f"{name} {server} {options.model}",
        options=options,
        task=context.need_task(),
        toolbox=context.need_toolbox(),
        limits=limits if options.max_turns is None else replace(limits, max_turns=options.max_turns),
        answers=Answers(_file(options, context)),
        fallback=options.fallback_teacher(context),
    )


def _file(options: ServerOptions, context: BuildContext) -> Path:
    return default_file() if options.cache is None else context.recipe_folder / options.cache.expanduser()
