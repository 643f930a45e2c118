"""Parsers: from the text a model wrote to a message with content, reasoning and tool calls.

A parser never raises, whatever the text, and takes time linear in its length. Calls count only outside
reasoning; what looks like a call and cannot be read becomes a call in state MALFORMED.

    HermesParser            <think>…</think> and <tool_call>{json}</tool_call>: Qwen, Hermes, SmolLM and others
    BareJsonParser          the whole turn is one JSON object, as Llama 3 writes calls
    ResponseTemplateParser  what the tokenizer's own response template says (transformers >= 5.13)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from mentor_kit.chat.calls import CallError, call_of, malformed, read_json, skip_space, valid_unicode
from mentor_kit.conversation import Message, ToolCall, assistant
from mentor_kit.tool import Tool

#: Calls beyond this number in one turn become one malformed call.
MAX_CALLS = 128

THINK, END_THINK = "<think>", "</think>"
CALL, END_CALL = "<tool_call>", "</tool_call>"

_OPENING = re.compile(f"{THINK}|{CALL}")
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")


class Parser(Protocol):
    """Reads what a model wrote in one turn."""

    def parse(self, text: str) -> Message:
        """The assistant message in a text without its stop token. Never raises; linear in the text."""
        ...


class ParsesWithTools(Protocol):
    """A parser that reads values by the tools' schemas, where its family writes texts without quotation marks."""

    def parse_with_tools(self, text: str, tools: Mapping[str, Tool]) -> Message:
        """As `Parser.parse`, with the dialogue's tools by name."""
        ...


def parse(parser: Parser, text: str, tools: Mapping[str, Tool] | None) -> Message:
    """The message in a text, read with the tools by a parser that can use them."""
    # asked by name, as it is asked for every turn, and whether a parser fulfils a protocol takes long to tell
    if tools and hasattr(parser, "parse_with_tools"):
        return cast(ParsesWithTools, parser).parse_with_tools(text, tools)
    return parser.parse(text)


@dataclass(frozen=True)
class HermesParser:
    """Reasoning in `<think>` tags, calls as JSON in `<tool_call>` tags, the rest is content.

    Reasoning that is never closed takes the rest of the turn with it. A call needs its closing tag. A tag
    inside a JSON string is data; one anywhere else inside a call makes the call malformed.
    """

    in_reasoning: bool = False
    """Whether the prompt already ends with an opening `<think>`."""

    def parse(self, text: str) -> Message:
        text = valid_unicode(text)
        reasoning: list[str] = []
        content: list[str] = []
        calls: list[ToolCall] = []
        position = _reasoning(text, 0, reasoning) if self.in_reasoning else 0
        while opening := _OPENING.search(text, position):
            content.append(text[position : opening.start()])
            if opening.group() == THINK:
                position = _reasoning(text, opening.end(), reasoning)
            elif len(calls) == MAX_CALLS:
                calls.append(malformed(text[opening.start() :], f"more than {MAX_CALLS} calls in one turn"))
                position = len(text)
            else:
                call, position = _tagged_call(text, opening.start())
                calls.append(call)
        content.append(text[position:])
        return assistant(_joined(content), reasoning=_joined(reasoning), calls=calls)


@dataclass(frozen=True)
class BareJsonParser:
    """A turn that is one JSON object with a name and parameters is a call; any other turn is content.

    The object may follow `<|python_tag|>` and have `arguments` instead of `parameters`. A turn that begins
    with `{"name"` and cannot be read is a malformed call.
    """

    in_reasoning: bool = False
    """Whether the prompt already ends with an opening `<think>`."""

    def parse(self, text: str) -> Message:
        text = valid_unicode(text)
        reasoning: list[str] = []
        start = skip_space(text, 0)
        if self.in_reasoning or text.startswith(THINK, start):
            start = _reasoning(text, start if self.in_reasoning else start + len(THINK), reasoning)
        body = text[start:].strip()
        call = _bare_call(body.removeprefix("<|python_tag|>"))
        thought = _joined(reasoning)
        return assistant(reasoning=thought, calls=[call]) if call else assistant(body, reasoning=thought)


@dataclass(frozen=True)
class ResponseTemplateParser:
    """Parses with the tokenizer's response template, and checks what comes out.

    Anything the template cannot read makes the whole turn one malformed call.
    """

    tokenizer: ParsesResponses
    prefix: str = ""
    """The end of the prompt, which may open the reasoning."""

    def parse(self, text: str) -> Message:
        text = valid_unicode(text)
        try:
            return _message_of(self.tokenizer.parse_response(text, self.prefix), text)
        except Exception as error:  # noqa: BLE001 (templates run a model's text through any code there is)
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            return assistant(calls=[malformed(text, valid_unicode(reason))])


class ParsesResponses(Protocol):
    """The part of a chat tokenizer that a response template needs."""

    def parse_response(self, text: str, prefix: str) -> Any:
        """What the response template makes of a text that follows the prompt `prefix`; may raise anything."""
        ...


def _reasoning(text: str, start: int, found: list[str]) -> int:
    """Adds the reasoning that begins at `start`, and returns where the text goes on after it."""
    end = text.find(END_THINK, start)
    if end < 0:
        found.append(text[start:].removeprefix(THINK))
        return len(text)
    found.append(text[start:end].strip().removeprefix(THINK))
    return end + len(END_THINK)


def _tagged_call(text: str, start: int) -> tuple[ToolCall, int]:
    """The call whose opening tag stands at `start`, and where the text goes on after it."""
    try:
        value, end = read_json(text, start + len(CALL))
        closing = skip_space(text, end)
        if not text.startswith(END_CALL, closing):
            raise CallError("text follows the JSON" if closing < len(text) else f"{END_CALL} is missing")
    except CallError as error:
        return _broken_call(text, start, str(error))
    after = closing + len(END_CALL)
    return call_of(value, text[start:after]), after


def _broken_call(text: str, start: int, error: str) -> tuple[ToolCall, int]:
    closing = text.find(END_CALL, start)
    after = len(text) if closing < 0 else closing + len(END_CALL)
    if closing < 0:
        error = f"{END_CALL} is missing"
    elif text.find(CALL, start + len(CALL), closing) >= 0:
        error = f"{CALL} inside a call"
    return malformed(text[start:after], error), after


def _bare_call(text: str) -> ToolCall | None:
    """The call that a text is, or None if it is not meant as one."""
    if not text.startswith("{"):
        return None
    meant = text[1:200].lstrip().startswith('"name"')
    try:
        value, end = read_json(text, 0)
        if skip_space(text, end) != len(text):
            raise CallError("text follows the JSON")
    except CallError as error:
        return malformed(text, str(error)) if meant else None
    if not meant and not ("name" in value and ("parameters" in value or "arguments" in value)):
        return None
    return call_of(value, text, arguments_keys=("parameters", "arguments"))


def _message_of(parsed: Any, text: str) -> Message:
    """A message from what a response template gave; raises on any other form than transformers documents."""
    if not isinstance(parsed, Mapping):
        raise TypeError(f"the response template gave {type(parsed).__name__}, not a message")
    reasoning = next((parsed[key] for key in _REASONING_KEYS if parsed.get(key)), "")
    calls = parsed.get("tool_calls") or []
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise TypeError("the response template gave tool calls that are no list")
    return assistant(
        _text(parsed.get("content")).strip(),
        reasoning=_text(reasoning).strip(),
        calls=[_template_call(call, text) for call in calls],
    )


def _template_call(call: Any, text: str) -> ToolCall:
    """A call in OpenAI's form; passed through JSON once more, so that it meets the same limits as any other."""
    import json

    value = call.get("function", call) if isinstance(call, Mapping) else call
    try:
        checked, _ = read_json(json.dumps(value), 0)
    except CallError as error:
        return malformed(text, str(error))
    return call_of(checked, text)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"the response template gave {type(value).__name__} where text belongs")
    return value


def _joined(parts: list[str]) -> str:
    return "\n".join(stripped for part in parts if (stripped := part.strip()))
