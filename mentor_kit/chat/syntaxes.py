"""How families write calls, one reader each; `mentor_kit.chat.families` says who writes what.

A reader gets the text and the place of the opening mark, and gives the calls there and the place after them. It is
strict, takes time linear in what it reads, and raises nothing but `CallError`.
"""

from __future__ import annotations

from types import MappingProxyType

from mentor_kit.chat.bare import Tools, read_bare
from mentor_kit.chat.calls import CallError, call_of, read_json, skip_space
from mentor_kit.chat.markup import Syntax
from mentor_kit.conversation import ToolCall
from mentor_kit.record import Json

_NO_TOOLS: Tools = MappingProxyType({})


def _function_xml(text: str, start: int, tools: Tools = _NO_TOOLS) -> tuple[list[ToolCall], int]:
    """`<tool_call><function=name><parameter=key>value</parameter>…</function></tool_call>`."""
    name, place = _between(text, _after(text, start, "<tool_call>"), "<function=", ">")
    arguments: dict[str, Json] = {}
    while (place := skip_space(text, place)) < len(text) and text.startswith("<parameter=", place):
        key, place = _between(text, place, "<parameter=", ">")
        value, place = _until(text, place, "</parameter>")
        bare = value.removeprefix("\n").removesuffix("\n")
        _add(arguments, key, read_bare(bare, tools.get(name), key))
    after = _after(text, _after(text, place, "</function>"), "</tool_call>")
    return [_call(name, arguments, text[start:after])], after


def _key_value_xml(text: str, start: int, tools: Tools = _NO_TOOLS) -> tuple[list[ToolCall], int]:
    """`<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value>…</tool_call>`."""
    body, after = _until(text, _after(text, start, "<tool_call>"), "</tool_call>")
    name, mark, rest = body.partition("<arg_key>")
    arguments: dict[str, Json] = {}
    rest = mark + rest
    place = 0
    while (place := skip_space(rest, place)) < len(rest):
        key, place = _between(rest, place, "<arg_key>", "</arg_key>")
        value, place = _between(rest, place, "<arg_value>", "</arg_value>")
        _add(arguments, key, read_bare(value, tools.get(name.strip()), key))
    return [_call(name.strip(), arguments, text[start:after])], after


def _marked_name_and_json(text: str, start: int) -> tuple[list[ToolCall], int]:
    """`[TOOL_CALLS][{json}, …]`, or `[TOOL_CALLS]name[ARGS]{json}` for each call.

    Version 11 has `[CALL_ID]id` after the name.
    """
    place = skip_space(text, start + len("[TOOL_CALLS]"))
    if text.startswith("[", place):
        values, after = read_json(text, place)
        if not isinstance(values, list) or not values:
            raise CallError("calls are a JSON list that is not empty")
        return [call_of(value, text[start:after]) for value in values], after
    named, place = _until(text, place, "[ARGS]")
    name = named.partition("[CALL_ID]")[0]
    arguments, after = read_json(text, place)
    return [call_of({"name": name.strip(), "arguments": arguments}, text[start:after])], after


_CALLS, _CALL, _SEPARATOR = "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"
_END_CALL, _END_CALLS = "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"


def _deepseek(text: str, start: int) -> tuple[list[ToolCall], int]:
    """V3: the kind of call, the name, and JSON in a fence, between the family's marks; V3.1: name and JSON alone."""
    body, after = _until(text, start + len(_CALLS), _END_CALLS)
    calls, place = [], 0
    while (place := skip_space(body, place)) < len(body):
        begin = place
        first, place = _between(body, place, _CALL, _SEPARATOR)
        rest, place = _until(body, place, _END_CALL)
        name, fence, fenced = rest.partition("```json")
        name, written = (name.strip(), fenced.strip().removesuffix("```")) if fence else (first.strip(), rest)
        calls.append(call_of({"name": name, "arguments": _whole_json(written)}, body[begin:place]))
    if not calls:
        raise CallError("the list of calls is empty")
    return calls, after


def _json_list(opening: str, closing: str) -> Syntax:
    """A JSON list of calls between two marks."""

    def read(text: str, start: int) -> tuple[list[ToolCall], int]:
        values, place = read_json(text, start + len(opening))
        after = _after(text, place, closing)
        if not isinstance(values, list) or not values:
            raise CallError("calls are a JSON list that is not empty")
        raw = text[start:after]
        return [call_of(value, raw, arguments_keys=("arguments", "parameters")) for value in values], after

    return Syntax(opening, closing, read)


def _whole_json(text: str) -> Json:
    value, end = read_json(text, 0)
    if skip_space(text, end) != len(text):
        raise CallError("text follows the JSON")
    return value


def _call(name: str, arguments: dict[str, Json], raw: str) -> ToolCall:
    return call_of({"name": name, "arguments": arguments}, raw)


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


FUNCTION_XML = Syntax("<tool_call>", "</tool_call>", _function_xml, _function_xml)
KEY_VALUE_XML = Syntax("<tool_call>", "</tool_call>", _key_value_xml, _key_value_xml)
MISTRAL = Syntax("[TOOL_CALLS]", "", _marked_name_and_json)
DEEPSEEK = Syntax(_CALLS, _END_CALLS, _deepseek)
PHI = _json_list("<|tool_call|>", "<|/tool_call|>")
