"""Reads calls whose arguments are not JSON: Gemma's quotation marks, and LFM's Python syntax.

    <|tool_call>call:name{key:<|"|>text<|"|>,other:[1,true]}<tool_call|>
    <|tool_call_start|>[name(key='text', other=[1, True])]<|tool_call_end|>

Both nest values in brackets; a `_Notation` says what their strings and keys look like. JSON's strings, and JSON's and
Python's words, are read in both.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from mentor_kit.chat.calls import (
    MAX_DEPTH,
    NO_TOOLS,
    CallError,
    Tools,
    call_of,
    no_arguments,
    read_json,
    skip_space,
    valid_unicode,
    whole_json,
)
from mentor_kit.chat.markup import Syntax
from mentor_kit.chat.schema_values import python_value
from mentor_kit.core.conversation import ToolCall
from mentor_kit.core.frozen_model import Json

#: (text, place) -> the string that begins there and the place after it, or None; raises `CallError` if it has no end.
_String = Callable[[str, int], tuple[str, int] | None]

_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
_LITERAL = re.compile(r"[^\s,:=\[\](){}'\"<|]{1,5000}")


@dataclass(frozen=True)
class _Notation:
    """How a family writes values."""

    string: _String
    bare_key: re.Pattern[str]
    """A key of a mapping without quotation marks."""

    def value(self, text: str, place: int, levels: int = MAX_DEPTH) -> tuple[Json, int]:
        """The value that begins at `place`, and the place after it."""
        place = skip_space(text, place)
        if levels == 0:
            raise CallError(f"nested deeper than {MAX_DEPTH} levels")
        if found := self.string(text, place):
            return found
        if text.startswith("{", place):
            return self._mapping(text, place + 1, levels - 1)
        if text.startswith("[", place):
            return self._list(text, place + 1, levels - 1)
        literal = _LITERAL.match(text, place)
        if literal is None:
            raise CallError("a value is missing")
        return _literal(literal.group()), literal.end()

    def _mapping(self, text: str, place: int, levels: int) -> tuple[dict[str, Json], int]:
        found: dict[str, Json] = {}
        while not (after := _after(text, place, "}")):
            place = _separated(text, place, bool(found))
            key, place = self.string(text, place) or _matched(self.bare_key, text, place, "a key")
            place = _after(text, place, ":")
            if not place or key in found:
                raise CallError(f"the key {key[:80]!r} has no value, or two")
            found[key], place = self.value(text, place, levels)
        return found, after

    def _list(self, text: str, place: int, levels: int) -> tuple[list[Json], int]:
        found: list[Json] = []
        while not (after := _after(text, place, "]")):
            value, place = self.value(text, _separated(text, place, bool(found)), levels)
            found.append(value)
        return found, after


def _after(text: str, place: int, mark: str) -> int:
    """The place after a mark that stands at `place`, but for spaces; 0 if it does not."""
    place = skip_space(text, place)
    return place + len(mark) if text.startswith(mark, place) else 0


def _needed(text: str, place: int, mark: str) -> int:
    after = _after(text, place, mark)
    if not after:
        raise CallError(f"{mark} is missing")
    return after


def _separated(text: str, place: int, comma: bool) -> int:
    """Where the next item begins, after a comma if it is not the first."""
    place = skip_space(text, place)
    if place >= len(text):
        raise CallError("the arguments are not closed")
    return skip_space(text, _needed(text, place, ",")) if comma else place


def _matched(pattern: re.Pattern[str], text: str, place: int, what: str) -> tuple[str, int]:
    found = pattern.match(text, place)
    if found is None:
        raise CallError(f"{what} is missing")
    return found.group(), found.end()


def _literal(text: str) -> Json:
    """A number, or one of JSON's or Python's words."""
    try:
        return whole_json(text)
    except CallError:
        return python_value(text)


_CALL, _END_CALL, _QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'
_OPENING = "call:"


def _gemma_string(text: str, place: int) -> tuple[str, int] | None:
    if text.startswith('"', place):
        value, end = read_json(text, place)
        return str(value), end
    if not text.startswith(_QUOTE, place):
        return None
    end = text.find(_QUOTE, place + len(_QUOTE))
    if end < 0:
        raise CallError(f"{_QUOTE} is missing")
    return text[place + len(_QUOTE) : end], end + len(_QUOTE)


_GEMMA = _Notation(_gemma_string, re.compile(r"[^\s:{}\[\],\"<]{1,256}"))


def _gemma(text: str, start: int, tools: Tools = NO_TOOLS) -> tuple[list[ToolCall], int]:
    name, place = _matched(_NAME, text, _needed(text, start + len(_CALL), _OPENING), "the name")
    if not text.startswith(("{", _END_CALL), skip_space(text, place)) and text[place:].strip():
        raise CallError("the name is no tool's")  # what was read is the beginning of one
    try:
        if _after(text, place, _END_CALL):
            arguments: Json = no_arguments(tools.get(name))
        else:
            arguments, place = _GEMMA.value(text, place)
        after = _needed(text, place, _END_CALL)
    except CallError as error:
        raise CallError(str(error), name=name) from None
    return [call_of({"name": name, "arguments": arguments}, text[start:after], tools=tools)], after


_CALLS, _END_CALLS = "<|tool_call_start|>", "<|tool_call_end|>"
# the family's own templates do not escape an apostrophe: between two letters it ends nothing
_PYTHON_STRING = re.compile(r"'((?:[^'\\]|\\.|(?<=\w)'(?=\w))*)'" + r'|"(?:[^"\\]|\\.)*"', re.DOTALL)
_UNESCAPED = re.compile(r"(?<!\\)'")
_PARAMETER = re.compile(r"[^\s=,()'\"\[\]{}]{1,256}")


def _python_string(text: str, place: int) -> tuple[str, int] | None:
    """A string as Python writes it, but that its lines may break anywhere; one in JSON's form is read as JSON's."""
    if text[place : place + 1] not in ("'", '"'):
        return None
    found = _PYTHON_STRING.match(text, place)
    if found is None:
        raise CallError("a quotation mark is missing")
    written = found.group()
    if found.group(1) is not None:
        written = "'" + _UNESCAPED.sub(r"\\'", found.group(1)) + "'"
    try:
        return str(whole_json(written)), found.end()
    except CallError:
        pass
    if "\\\n" in written or "\\\r" in written:
        raise CallError("a backslash before the end of a line")
    with warnings.catch_warnings(action="ignore"):
        try:
            value = str(ast.literal_eval(written.replace("\n", "\\n").replace("\r", "\\r")))
        except (ValueError, SyntaxError, MemoryError):
            raise CallError("a string that Python cannot read") from None
    if value != valid_unicode(value):
        raise CallError("not valid Unicode: half of a surrogate pair")
    return value, found.end()


_PYTHON = _Notation(_python_string, re.compile("(?!)"))


def _pythonic(text: str, start: int, tools: Tools = NO_TOOLS) -> tuple[list[ToolCall], int]:
    place = _needed(text, start + len(_CALLS), "[")
    found: list[tuple[str, dict[str, Json]]] = []
    while not (after := _after(text, place, "]")):
        name, place = _matched(_NAME, text, _separated(text, place, bool(found)), "the name")
        place = _needed(text, place, "(")
        try:
            arguments, place = _keywords(text, place)
        except CallError as error:
            raise CallError(str(error), place=error.place, name=name) from None
        found.append((name, arguments))
    if not text.startswith(_END_CALLS, skip_space(text, after)):
        raise CallError(f"{_END_CALLS} is missing", name=found[0][0] if found else "")
    after = _needed(text, after, _END_CALLS)
    if not found:
        raise CallError("calls are a list, such as [name(key='value')]")
    raw = text[start:after]
    return [call_of({"name": name, "arguments": arguments}, raw, tools=tools) for name, arguments in found], after


def _keywords(text: str, place: int) -> tuple[dict[str, Json], int]:
    """The arguments of a call in Python's form, and the place after its closing bracket."""
    found: dict[str, Json] = {}
    while not (after := _after(text, place, ")")):
        name, place = _matched(_PARAMETER, text, _separated(text, place, bool(found)), "an argument's name")
        place = _after(text, place, "=")
        if not place:
            raise CallError("a call is name(key='value'), with every argument by name")
        if name in found:
            raise CallError(f"the argument {name[:80]!r} is given twice")
        found[name], place = _PYTHON.value(text, place)
    return found, after


GEMMA = Syntax(_CALL, _END_CALL, _gemma, _gemma)
PYTHONIC = Syntax(_CALLS, _END_CALLS, _pythonic, _pythonic)
