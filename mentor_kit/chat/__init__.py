"""The chat layer: tokenizers, chat templates, parsing of tool calls, and token-exact transcripts.

load_chat_format ──> ChatFormat: open, bridge, parse, render_turn, truncate
                         │
Transcript: prompt, sampled turns and what stands between them ──> TokenTrace
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mentor_kit.chat.format import ChatFormat, choose_parser
from mentor_kit.chat.parsing import BareJsonParser, HermesParser, Parser, ResponseTemplateParser
from mentor_kit.chat.tokenizer import ChatTokenizer, TransformersTokenizer, load_tokenizer
from mentor_kit.chat.transcript import Transcript, demonstration_tokens
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.registry import Registry

__all__ = [
    "BareJsonParser",
    "ChatFormat",
    "ChatTokenizer",
    "HermesParser",
    "Parser",
    "ResponseTemplateParser",
    "Transcript",
    "TransformersTokenizer",
    "choose_parser",
    "demonstration_tokens",
    "load_chat_format",
    "load_tokenizer",
]


def load_chat_format(
    model: str | Path,
    *,
    chat_template: str | Path | None = None,
    folder: Path | None = None,
    revision: str | None = None,
    variables: Mapping[str, Json] | None = None,
    registry: Registry | None = None,
) -> ChatFormat:
    """The chat format of a model; arguments and errors are those of `load_tokenizer` and `ChatFormat`.

    Raises:
        ChatError: besides, the template does not end an assistant's turn with a special token.
    """
    tokenizer = load_tokenizer(
        model, chat_template=chat_template, folder=folder, revision=revision, variables=variables
    )
    return ChatFormat(tokenizer, registry=registry)
