"""One reader for each call syntax; `mentor_kit.chat.families` assigns them to families.

A reader gets the text, the place of the opening mark and the dialogue's tools, and gives the calls there and the place
after them. It is strict, takes time linear in what it reads, and raises nothing but `CallError`.

Two families write values between tags, as they are. A tag of the format within a value may be data, or the tag that
follows a closing one that is missing. So it is never data where the format would have a tag, and the call is malformed:

    function-xml    a value on lines of its own ends with `</parameter>` on a line of its own, or with another tag
                    behind it; no line of the value begins with a tag. A value within a line has no tag at all.
    key-value-xml   a value has none of the format's four tags.
"""

from __future__ import annotations

import re

from mentor_kit.chat.calls import (
    NO_TOOLS,
    CallError,
    Tools,
    call_of,
    read_json,
    skip_space,
    tool_name,
)
from mentor_kit.chat.markup import Syntax
from mentor_kit.chat.schema_values import read_bare
from mentor_kit.core.conversation import ToolCall
from mentor_kit.core.frozen_model import Json

_CALL, _END_CALL = "<tool_call>", "</tool_call>"
_FUNCTION, _END_FUNCTION, _PARAMETER, _END_PARAMETER = "<function=", "</function>", "<parameter=", "</parameter>"
_TAG = f"(?:{_FUNCTION}|{_END_FUNCTION}|{_PARAMETER}|{_END_PARAMETER})"
_TAG_WITHIN_A_LINE = re.compile(_TAG)
_TAG_BETWEEN_LINES = re.compile(rf"\r?\n[ \t]*{_TAG}|{_END_PARAMETER}(?=\s*{_TAG})")
_KEY = re.compile(r"[^<>\r\n]{1,256}")


def _function_xml(text: str, start: int, tools: Tools = NO_TOOLS) -> tuple[list[ToolCall], int]:
    """`<tool_call><function=name><parameter=key>value</parameter>…</function></tool_call>`."""
    written, place = _between(text, _after(text, start, _CALL), _FUNCTION, ">")
    name = tool_name(written)
    arguments: dict[str, Json] = {}
    try:
        while text.startswith(_PARAMETER, skip_space(text, place)):
            key, place = _key(text, skip_space(text, place) + len(_PARAMETER), ">")
            value, place = _lines_or_words(text, place)
            _add(arguments, key, read_bare(value, tools.get(name), key))
        after = _after(text, _after(text, place, _END_FUNCTION), _END_CALL)
    except CallError as error:
        raise CallError(str(error), place=max(place, error.place), name=name) from None
    return [call_of({"name": name, "arguments": arguments}, text[start:after], tools=tools)], after


def _lines_or_words(text: str, place: int) -> tuple[str, int]:
    """The value that begins at `place`, without the line breaks around it, and the place after its closing tag."""
    line_break = next((found for found in ("\r\n", "\n") if text.startswith(found, place)), "")
    value, tag, after = _until_tag(
        text, place, _TAG_BETWEEN_LINES if line_break else _TAG_WITHIN_A_LINE, _END_PARAMETER
    )
    if line_break == "\n" and tag.startswith("\r"):
        value += "\r"  # lines end without it here
    return value.removeprefix(line_break), after


def _until_tag(text: str, place: int, tags: re.Pattern[str], closing: str) -> tuple[str, str, int]:
    """The text up to the next of some tags, that tag, which has to be the closing one, and the place after it."""
    found = tags.search(text, place)
    if found is None:
        raise CallError(f"{closing} is missing", place=place)
    if not found.group().endswith(closing):
        # had the tag been data, the value would have gone on up to the next closing tag
        raise CallError(
            f"{closing} is missing before {found.group().strip()}", place=max(found.end(), text.find(closing, place))
        )
    return text[place : found.start()], found.group(), found.end()


_ARG_TAG = re.compile(r"</?arg_(?:key|value)>")


def _key_value_xml(text: str, start: int, tools: Tools = NO_TOOLS) -> tuple[list[ToolCall], int]:
    """`<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value>…</tool_call>`."""
    place = start + len(_CALL)
    end = text.find("<", place)
    name = tool_name(text[place : end if end >= 0 else len(text)])
    if end >= 0 and not text.startswith(("<arg_key>", _END_CALL), end):
        raise CallError("the name is no tool's", place=end)  # what was read is the beginning of one
    place = max(place, end)
    arguments: dict[str, Json] = {}
    try:
        while text.startswith("<arg_key>", skip_space(text, place)):
            key, place = _key(text, _after(text, place, "<arg_key>"), "</arg_key>")
            value, _, place = _until_tag(text, _after(text, place, "<arg_value>"), _ARG_TAG, "</arg_value>")
            _add(arguments, key, read_bare(value, tools.get(name), key))
        after = _after(text, place, _END_CALL)
    except CallError as error:
        raise CallError(str(error), place=max(place, error.place), name=name) from None
    return [call_of({"name": name, "arguments": arguments}, text[start:after], tools=tools)], after


_MARK, _ARGUMENTS, _ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"


def _marked_name_and_json(text: str, start: int, tools: Tools = NO_TOOLS) -> tuple[list[ToolCall], int]:
    """`[TOOL_CALLS][{json}, …]`, or `[TOOL_CALLS]name[ARGS]{json}` for each call.

    Version 11 has `[CALL_ID]id` after the name.
    """
    place = skip_space(text, start + len(_MARK))
    if text.startswith("[", place):
        values, after = read_json(text, place)
        return _calls_of(values, text[start:after], tools), after
    named, place = _until(text, place, _ARGUMENTS)
    name = tool_name(named.partition(_ID)[0])
    arguments, after = _json_or_nothing(text, place, _MARK)
    return [call_of({"name": name, "arguments": arguments}, text[start:after], tools=tools)], after


_BEGIN, _END, _ONE, _SEPARATOR, _END_ONE = (
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
)
_FENCE = "```"
#: V3's name, between the separator and a fence, or a line break.
_NAME_BEFORE_FENCE = re.compile(r"\s*([A-Za-z0-9_.\-]{1,128})[ \t]*(?:\r?\n\s*|(?=```))(?:```(?:json)?)?")


def _deepseek(text: str, start: int, tools: Tools = NO_TOOLS) -> tuple[list[ToolCall], int]:
    """V3: the kind of call, the name, and JSON in a fence, between the family's marks; V3.1: name and JSON alone."""
    calls, place = [], start + len(_BEGIN)
    while not text.startswith(_END, skip_space(text, place)):
        begin, named = skip_space(text, place), ""
        try:
            name, place = _between(text, begin, _ONE, _SEPARATOR)
            if old := _NAME_BEFORE_FENCE.match(text, place):
                name, place = old.group(1), old.end()
            named = tool_name(name)
            arguments, place = _json_or_nothing(text, place, _END_ONE, _FENCE)
            if old and text.startswith(_FENCE, skip_space(text, place)):
                place = skip_space(text, place) + len(_FENCE)
            place = _after(text, place, _END_ONE)
            call = {"name": named, "arguments": arguments}
        except CallError as error:
            raise CallError(str(error), place=place, name=named) from None
        calls.append(call_of(call, text[begin:place], tools=tools))
    if not calls:
        raise CallError("the list of calls is empty")
    return calls, skip_space(text, place) + len(_END)


def _json_list(opening: str, closing: str) -> Syntax:
    """A JSON list of calls between two marks."""

    def read(text: str, start: int, tools: Tools = NO_TOOLS) -> tuple[list[ToolCall], int]:
        values, place = read_json(text, start + len(opening))
        after = _after(text, place, closing)
        return _calls_of(values, text[start:after], tools), after

    return Syntax(opening, closing, read, read)


def _calls_of(values: Json, raw: str, tools: Tools) -> list[ToolCall]:
    if not isinstance(values, list) or not values:
        raise CallError("calls are a JSON list that is not empty")
    return [call_of(value, raw, tools=tools) for value in values]


def _json_or_nothing(text: str, place: int, *following: str) -> tuple[Json, int]:
    """The JSON value at `place`, or None where nothing but one of the marks, or the end, follows."""
    place = skip_space(text, place)
    if place == len(text) or text.startswith(following, place):
        return None, place
    return read_json(text, place)


def _key(text: str, place: int, closing: str) -> tuple[str, int]:
    """An argument's name and the place after the mark that ends it."""
    found = _KEY.match(text, place)
    if found is None or not text.startswith(closing, found.end()):
        raise CallError(f"an argument's name, and {closing} behind it, is missing")
    return found.group(), found.end() + len(closing)


def _add(arguments: dict[str, Json], key: str, value: Json) -> None:
    if key in arguments:
        raise CallError(f"the argument {key[:80]!r} is given twice")
    arguments[key] = value


def _after(text: str, place: int, mark: str) -> int:
    """The place after a mark that must stand at `place`, but for spaces."""
    place = skip_space(text, place)
    if not text.startswith(mark, place):
        raise CallError(f"{mark} is missing")
    return place + len(mark)


def _until(text: str, place: int, mark: str) -> tuple[str, int]:
    """The text up to the next mark, and the place after that."""
    end = text.find(mark, place)
    if end < 0:
        raise CallError(f"{mark} is missing")
    return text[place:end], end + len(mark)


def _between(text: str, place: int, first: str, second: str) -> tuple[str, int]:
    """The text between two marks, of which the first must stand at `place`."""
    return _until(text, _after(text, place, first), second)


FUNCTION_XML = Syntax(_CALL, _END_CALL, _function_xml, _function_xml)
KEY_VALUE_XML = Syntax(_CALL, _END_CALL, _key_value_xml, _key_value_xml)
MISTRAL = Syntax(_MARK, "", _marked_name_and_json, _marked_name_and_json)
DEEPSEEK = Syntax(_BEGIN, _END, _deepseek, _deepseek)
PHI = _json_list("<|tool_call|>", "<|/tool_call|>")
