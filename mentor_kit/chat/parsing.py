"""The contract of parsers: from a model's string to a message with content, reasoning and tool calls.

A parser never raises, whatever the text, and takes time linear in its length. Calls count only outside
reasoning; what looks like a call and cannot be read becomes a call in state MALFORMED. `parse` also looks at the words
that a parser leaves (`mentor_kit.chat.attempts`).

    HermesParser            <think>…</think> and <tool_call>{json}</tool_call>: Qwen, Hermes, SmolLM and others
    BareJsonParser          the whole turn is one JSON object, as Llama 3 writes calls
    ResponseTemplateParser  what the tokenizer's own response template says (transformers >= 5.13)
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from mentor_kit.chat.attempts import with_attempts
from mentor_kit.chat.calls import (
    NO_TOOLS,
    CallError,
    Tools,
    call_of,
    malformed,
    read_json,
    skip_space,
    valid_unicode,
)
from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant
from mentor_kit.core.errors import ChatError
from mentor_kit.core.frozen_model import Json

#: Calls beyond this number in one turn become one malformed call.
MAX_CALLS = 128

THINK, END_THINK = "<think>", "</think>"
CALL, END_CALL = "<tool_call>", "</tool_call>"

# a tag in inline code (`<tool_call>`) is mentioned
_OPENING = re.compile(f"{THINK}|(?<!`){CALL}|{CALL}(?!`)")
_CALL_BEGINS = re.compile(r'\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"')
#: Marks as a template may write them around calls.
_MARK = re.compile(r"</?[^\s<>=]{1,60}[>=]|\[/?[A-Z_]{3,40}\]")
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")


class Parser(ABC):
    """Base class of parsers: what a model wrote in one turn, as a message."""

    @abstractmethod
    def parse(self, text: str, tools: Tools = NO_TOOLS) -> Message:
        """The assistant message in a turn's text without its stop token. Never raises; linear in the text's length.

        Args:
            text: what the model wrote.
            tools: the dialogue's tools by name; families that write values without quotation marks are read by the
                tools' schemas.
        """


def parse(parser: Parser, text: str, tools: Tools | None) -> Message:
    """The message in a turn's text, with attempts at calls found for any parser."""
    known = tools or NO_TOOLS
    return with_attempts(parser.parse(text, known), known)


@dataclass(frozen=True)
class HermesParser(Parser):
    """Reasoning in `<think>` tags, calls as JSON in `<tool_call>` tags, the rest is content.

    Reasoning that is never closed takes the rest of the turn with it. A call needs its closing tag. A tag
    inside a JSON string is data; one anywhere else inside a call makes the call malformed.
    """

    in_reasoning: bool = False
    """Whether the prompt already ends with an opening `<think>`."""

    def parse(self, text: str, tools: Tools = NO_TOOLS) -> Message:
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
                call, position = _tagged_call(text, opening.start(), tools)
                calls.append(call)
        content.append(text[position:])
        return with_attempts(assistant(_joined(content), reasoning=_joined(reasoning), calls=calls), tools)


@dataclass(frozen=True)
class BareJsonParser(Parser):
    """A turn that is one JSON object with a name and parameters is a call; any other turn is content.

    The object may follow `<|python_tag|>` and have `arguments` instead of `parameters`. It needs neither if it has the
    name of a tool. A turn that begins with `{"name"` and cannot be read is a malformed call.
    """

    in_reasoning: bool = False
    """Whether the prompt already ends with an opening `<think>`."""

    def parse(self, text: str, tools: Tools = NO_TOOLS) -> Message:
        text = valid_unicode(text)
        reasoning: list[str] = []
        start = skip_space(text, 0)
        if self.in_reasoning or text.startswith(THINK, start):
            start = _reasoning(text, start if self.in_reasoning else start + len(THINK), reasoning)
        body = text[start:].strip()
        call = _bare_call(body.removeprefix("<|python_tag|>").lstrip(), tools)
        thought = _joined(reasoning)
        if call is not None:
            return assistant(reasoning=thought, calls=[call])
        return with_attempts(assistant(body, reasoning=thought), tools)


@dataclass(frozen=True)
class ResponseTemplateParser(Parser):
    """Parses with the tokenizer's response template, and checks what comes out.

    Anything the template cannot read makes the whole turn one malformed call. So do calls that are not all that was
    written: where a mark of calls stands in a string, or the calls written anew have other marks than the text.
    """

    tokenizer: ParsesResponses
    prefix: str = ""
    """The end of the prompt, which may open the reasoning."""
    write: Callable[[Message], str] | None = None
    """What the chat template makes of a turn; without it marks are not compared."""

    def parse(self, text: str, tools: Tools = NO_TOOLS) -> Message:
        text = valid_unicode(text)
        schemas = {"tools": [tool.schema for tool in tools.values()]} if tools else {}
        try:
            message = _message_of(self.tokenizer.parse_response(text, self.prefix, **schemas), text, tools)
            self._check(message, text)
        except Exception as error:  # noqa: BLE001 (templates run a model's text through any code there is)
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            return assistant(calls=[malformed(text, valid_unicode(reason))])
        return with_attempts(message, tools)

    def _check(self, message: Message, text: str) -> None:
        if self.write is None or any(call.state is CallState.MALFORMED for call in message.tool_calls):
            return
        if not self._marks.isdisjoint(_MARK.findall(message.content)):
            raise CallError("a mark of calls outside of a call")
        if not message.tool_calls:
            return
        arguments = json.dumps([call.arguments for call in message.tool_calls], ensure_ascii=False)
        if not self._marks.isdisjoint(_MARK.findall(arguments)):
            raise CallError("a mark of calls stands in an argument, or one is missing")
        given, expected = Counter(_MARK.findall(text)), Counter(_MARK.findall(self.write(message)))
        if any(given[mark] != expected[mark] for mark in self._marks):
            raise CallError("marks of calls are missing, or too many")

    @cached_property
    def _marks(self) -> frozenset[str]:
        """What the template writes around calls, and not around words."""
        if self.write is None:
            return frozenset()
        one = ToolCall(name="probe", arguments={"text": "a", "number": 1})
        try:
            words, calls = (_MARK.findall(self.write(turn)) for turn in (assistant("a"), assistant(calls=[one])))
        except ChatError:
            return frozenset()
        return frozenset(calls).difference(words)


class ParsesResponses(Protocol):
    """The part of a chat tokenizer that a response template needs."""

    def parse_response(self, text: str, prefix: str, *, tools: Sequence[dict[str, Json]] = ()) -> Any:
        """What the response template makes of a text that follows the prompt `prefix`; may raise anything.

        Values are read by the schemas of `tools`, where transformers can.
        """
        ...


def _reasoning(text: str, start: int, found: list[str]) -> int:
    """Adds the reasoning that begins at `start`, and returns where the text goes on after it."""
    end = text.find(END_THINK, start)
    if end < 0:
        found.append(text[start:].removeprefix(THINK))
        return len(text)
    found.append(text[start:end].strip().removeprefix(THINK))
    return end + len(END_THINK)


def _tagged_call(text: str, start: int, tools: Tools) -> tuple[ToolCall, int]:
    """The call whose opening tag stands at `start`, and where the text goes on after it."""
    try:
        value, end = read_json(text, start + len(CALL))
        closing = skip_space(text, end)
        if not text.startswith(END_CALL, closing):
            raise CallError("text follows the JSON" if closing < len(text) else f"{END_CALL} is missing")
    except CallError as error:
        return _broken_call(text, start, str(error))
    after = closing + len(END_CALL)
    return call_of(value, text[start:after], tools=tools), after


def _broken_call(text: str, start: int, error: str) -> tuple[ToolCall, int]:
    closing = text.find(END_CALL, start)
    after = len(text) if closing < 0 else closing + len(END_CALL)
    if closing < 0:
        error = f"{END_CALL} is missing"
    elif text.find(CALL, start + len(CALL), closing) >= 0:
        error = f"{CALL} inside a call"
    return malformed(text[start:after], error), after


def _bare_call(text: str, tools: Tools) -> ToolCall | None:
    """The call that a text is, or None if it is not meant as one."""
    if not text.startswith("{"):
        return None
    try:
        value, end = read_json(text, 0)
    except CallError as error:
        return malformed(text, str(error)) if _CALL_BEGINS.match(text) else None
    if not any(key in value for key in ("parameters", "arguments", "function")) and value.get("name") not in [*tools]:
        return None
    if skip_space(text, end) != len(text):
        return malformed(text, "text follows the JSON")
    return call_of(value, text, tools=tools)


def _message_of(parsed: Any, text: str, tools: Tools) -> Message:
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
        calls=[_template_call(call, text, tools) for call in calls],
    )


def _template_call(call: Any, text: str, tools: Tools) -> ToolCall:
    """A call in OpenAI's form; passed through JSON once more, so that it meets the same limits as any other."""
    value = call.get("function", call) if isinstance(call, Mapping) else call
    try:
        checked, _ = read_json(json.dumps(value), 0)
    except CallError as error:
        return malformed(text, str(error))
    return call_of(checked, text, tools=tools)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"the response template gave {type(value).__name__} where text belongs")
    return value


def _joined(blocks: list[str]) -> str:
    return "\n".join(stripped for block in blocks if (stripped := block.strip()))
