"""Harmony, the syntax of gpt-oss: a turn is several messages, each with a channel and a recipient.

    <|channel|>analysis<|message|>reasoning<|end|>
    <|start|>assistant<|channel|>final<|message|>answer, or
    <|start|>assistant to=functions.name<|channel|>commentary json<|message|>{…}

The prompt ends with `<|start|>assistant`; the turn ends with `<|return|>` or `<|call|>`, which the text no longer has.

A message with a recipient is a call, in whatever channel: the format allows that, and models do call from the
analysis channel. The prefix `functions.` may be missing, so another name than a tool's is a call of an unknown tool.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mentor_kit.chat.attempts import with_attempts
from mentor_kit.chat.calls import (
    NO_TOOLS,
    CallError,
    Tools,
    call_of,
    malformed,
    read_json,
    skip_space,
    tool_name,
    valid_unicode,
)
from mentor_kit.chat.parsing import MAX_CALLS, Parser
from mentor_kit.core.conversation import Message, ToolCall, assistant

START, MESSAGE = "<|start|>assistant", "<|message|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
#: What a message ends with, or the next one begins with.
_BORDER = re.compile(r"<\|(?:end|call|return)\|>|(?=<\|start\|>)")
_CHANNEL = re.compile(r"<\|channel\|>\s*([a-z]{1,20})")
_RECIPIENT = re.compile(r"(?<![^\s>])to=([^\s<]{0,200})")
_PREFIX = "functions."
#: Recipients of messages that are no calls.
_PEOPLE = ("all", "assistant", "self", "user", "")


@dataclass
class _Turn:
    """The content, reasoning and calls read so far."""

    tools: Tools
    reasoning: list[str] = field(default_factory=list)
    content: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)

    def message(self, text: str, start: int) -> int:
        """Reads the message that begins at `start`, and returns the place after it."""
        begin = start + len(START) if text.startswith(START, start) else start
        body = text.find(MESSAGE, begin)
        following = text.find(START, begin)
        if body < 0 or 0 <= following < body:
            end = following if following >= 0 else len(text)
            self._unfinished(text[begin:end], text[start:end])
            return end
        header = text[begin:body]
        body += len(MESSAGE)
        recipient = self._recipient(header)
        border = _BORDER.search(text, body)
        end = border.end() if border else len(text)
        if recipient is None:
            channel = _CHANNEL.search(header)
            content = text[body : border.start() if border else len(text)]
            (self.reasoning if channel and channel.group(1) == "analysis" else self.content).append(content)
            return end
        try:
            if start and begin == start:
                raise CallError(f"{START} is missing", name=recipient)
            call, end = self._call(text, start, body, recipient)
            self.calls.append(call)
        except CallError as error:
            self.calls.append(malformed(text[start:end], str(error), error.name))
        return end

    def _unfinished(self, header: str, raw: str) -> None:
        """A header without a message: a turn that was cut, or one that follows no form."""
        recipient = self._recipient(header)
        if recipient is not None and (_CHANNEL.search(header) or _PREFIX in header):
            self.calls.append(malformed(raw, f"{MESSAGE} is missing", recipient))
        elif not _CHANNEL.search(header):
            self.content.append(header)

    def _recipient(self, header: str) -> str | None:
        """Return the recipient of a call: a tool's name, or what was written in its place."""
        found = _RECIPIENT.search(header)
        if found is None:
            return None
        name = found.group(1)
        return None if name in _PEOPLE and name not in self.tools else name.removeprefix(_PREFIX)

    def _call(self, text: str, start: int, body: int, recipient: str) -> tuple[ToolCall, int]:
        name = tool_name(recipient)
        try:
            place = skip_space(text, body)
            arguments, place = (None, place) if _ended(text, place) else read_json(text, place)
            end = skip_space(text, place)
            if not _ended(text, end):
                raise CallError("text follows the JSON")
        except CallError as error:
            raise CallError(str(error), name=name) from None
        call = call_of({"name": name, "arguments": arguments}, text[start:end], tools=self.tools)
        return call, next((end + len(mark) for mark in _ENDS if text.startswith(mark, end)), end)


@dataclass(frozen=True)
class HarmonyParser(Parser):
    """Reads the messages of a harmony turn: reasoning, calls and the final answer."""

    def parse(self, text: str, tools: Tools = NO_TOOLS) -> Message:
        text = valid_unicode(text)
        turn = _Turn(tools)
        place = 0
        for _ in range(MAX_CALLS):
            if place >= len(text):
                break
            place = turn.message(text, place)
        if text[place:].strip():
            turn.calls.append(malformed(text[place:], f"more than {MAX_CALLS} messages in one turn"))
        message = assistant(_joined(turn.content), reasoning=_joined(turn.reasoning), calls=turn.calls)
        return with_attempts(message, tools)


def _ended(text: str, place: int) -> bool:
    return place == len(text) or text.startswith((*_ENDS, START), place)


def _joined(blocks: list[str]) -> str:
    return "\n".join(stripped for block in blocks if (stripped := block.strip()))
