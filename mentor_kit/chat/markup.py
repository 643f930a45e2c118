"""A parser for turns with reasoning and calls between marks, for any family's marks and calls.

    words <think> reasoning </think> words <opening> calls, as the family writes them <closing>

`mentor_kit.chat.syntaxes` has the families' ways of writing calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mentor_kit.chat.attempts import with_attempts
from mentor_kit.chat.calls import NO_TOOLS, CallError, Tools, malformed, valid_unicode
from mentor_kit.chat.parsing import END_THINK, MAX_CALLS, THINK, Parser
from mentor_kit.core.conversation import Message, ToolCall, assistant

#: (text, index of the opening mark) -> the calls that begin there, and the index after them; raises `CallError`.
Read = Callable[[str, int], tuple[list[ToolCall], int]]
#: The same, with the dialogue's tools, by whose schemas values are read.
ReadWithTools = Callable[[str, int, Tools], tuple[list[ToolCall], int]]


@dataclass(frozen=True)
class Syntax:
    """A family's syntax of calls."""

    opening: str
    """The mark that calls begin with."""
    closing: str
    """The mark that they end with; empty where they end with the turn."""
    read: Read
    read_with_tools: ReadWithTools | None = None
    """For families that write values bare, so that a text and a number may look the same, or nothing at all."""


@dataclass(frozen=True)
class MarkupParser(Parser):
    """Reads reasoning and calls between the marks of one syntax.

    Reasoning that is never closed takes the rest of the turn with it. What cannot be read is a malformed call, up to
    the closing mark after all that was read of it. An opening mark in inline code (`<mark>`) is words.
    """

    syntax: Syntax
    think: tuple[str, str] = (THINK, END_THINK)
    """The marks around reasoning."""
    in_reasoning: bool = False
    """Whether the prompt already ends with the opening mark of reasoning."""

    def parse(self, text: str, tools: Tools = NO_TOOLS) -> Message:
        text = valid_unicode(text)
        reasoning: list[str] = []
        content: list[str] = []
        calls: list[ToolCall] = []
        position = self._reasoning(text, 0, reasoning) if self.in_reasoning else 0
        opening = re.compile(f"{re.escape(self.think[0])}|{not_in_code(self.syntax.opening)}")
        while found := opening.search(text, position):
            content.append(text[position : found.start()])
            if found.group() == self.think[0]:
                position = self._reasoning(text, found.end(), reasoning)
            elif len(calls) >= MAX_CALLS:
                calls.append(malformed(text[found.start() :], f"more than {MAX_CALLS} calls in one turn"))
                position = len(text)
            else:
                made, position = self._calls(text, found.start(), tools)
                calls += made[:MAX_CALLS]
        content.append(text[position:])
        return with_attempts(assistant(_joined(content), reasoning=_joined(reasoning), calls=calls), tools)

    def _reasoning(self, text: str, start: int, found: list[str]) -> int:
        begin, end = self.think
        closing = text.find(end, start)
        if closing < 0:
            found.append(text[start:].removeprefix(begin))
            return len(text)
        found.append(text[start:closing].strip().removeprefix(begin))
        return closing + len(end)

    def _calls(self, text: str, start: int, tools: Tools) -> tuple[list[ToolCall], int]:
        try:
            if self.syntax.read_with_tools is not None:
                return self.syntax.read_with_tools(text, start, tools)
            return self.syntax.read(text, start)
        except CallError as error:
            closing = text.find(self.syntax.closing, max(start, error.place)) if self.syntax.closing else -1
            after = len(text) if closing < 0 else closing + len(self.syntax.closing)
            return [malformed(text[start:after], str(error), error.name)], after


def not_in_code(mark: str) -> str:
    """A pattern for a mark that does not stand alone in inline code, where it is mentioned."""
    return f"(?:(?<!`){re.escape(mark)}|{re.escape(mark)}(?!`))"


def _joined(blocks: list[str]) -> str:
    return "\n".join(stripped for block in blocks if (stripped := block.strip()))
