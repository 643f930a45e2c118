"""Reads tool calls from a model's JSON: strict, bounded, and without raising.

A model's string may be truncated, nested a thousand levels deep, or have numbers of ten thousand digits or half of a
surrogate pair. Every such string becomes a call in state MALFORMED.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mentor_kit.core.conversation import CallState, ToolCall
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import Tool

#: The tools of a dialogue by name.
Tools = Mapping[str, Tool]
NO_TOOLS: Tools = MappingProxyType({})

#: Arguments nested deeper than this are refused: run folders, schemas and templates recurse into them.
MAX_DEPTH = 32
#: No tool's name is longer.
MAX_NAME = 128

_ARGUMENTS = ("arguments", "parameters")
_BESIDE = ("name", "id", "type")
_NAME_WINDOW = 2000
# of the call itself, in the first object there is; where a family writes names without one, that object is an argument
_NAME = re.compile(
    r"(?:(?!<function=|<arg_|<tool_call>\s*\w|call:|to=|\[ARGS\]|<｜)[^{])*"
    r'(?:\{\s*"function"\s*:\s*)?\{\s*(?:"(?:id|type)"\s*:\s*"[^"]{0,80}"\s*,\s*)*'
    r'"name"\s*:\s*"([A-Za-z0-9_.\-]{1,128})"'
)
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
_SPACE = re.compile(r"[ \t\n\r]*")


class CallError(ValueError):
    """A string is no call; the message has the reason, as the model's result.

    Args:
        message: the reason.
        place: how far the text belongs to the call, as far as it was read; 0 if that is not known.
        name: of the tool, if it was read.
    """

    def __init__(self, message: str, *, place: int = 0, name: str = "") -> None:
        super().__init__(message)
        self.place = place
        self.name = name


def read_json(text: str, start: int) -> tuple[Json, int]:
    """The JSON value that begins at `start`, spaces before it skipped, and the index after it.

    Stricter than `json.loads`: no duplicate keys, NaN, infinities, lone surrogates or deep nesting.

    Raises:
        CallError: there is no such value.
    """
    begin = skip_space(text, start)
    try:
        value, end = _DECODER.raw_decode(text, begin)
        if "\\u" in text[begin:end]:
            json.dumps(value, ensure_ascii=False).encode()
    except CallError:
        raise
    except json.JSONDecodeError as error:
        raise CallError(f"not valid JSON: {error.msg}") from None
    except RecursionError:
        raise CallError(f"nested deeper than {MAX_DEPTH} levels") from None
    except UnicodeEncodeError:
        raise CallError("not valid Unicode: half of a surrogate pair") from None
    except ValueError:
        raise CallError("a number has too many digits") from None
    if deeper_than(value, MAX_DEPTH):
        raise CallError(f"nested deeper than {MAX_DEPTH} levels")
    return value, end


def call_of(value: Json, raw: str, *, tools: Tools = NO_TOOLS) -> ToolCall:
    """The call that a JSON value describes: PARSED, or MALFORMED with the reason.

    The arguments stand under `arguments` or `parameters`, as an object or as a string that holds one. No other key
    may hold any, so that nothing a model wrote is left out; `id` and `type` are ignored. A call
    without arguments has none of the two keys, or, where the tool requires no argument, null or an empty string.

    Args:
        value: an object with `name` and arguments, or one with both under `function`, as OpenAI's API has it.
        raw: the text the value was read from.
        tools: the dialogue's, by name.
    """
    name = ""
    try:
        value = _unwrapped(value)
        name = _name_of(value)
        given = [key for key in _ARGUMENTS if key in value]
        if len(given) > 1:
            raise CallError("the call has both arguments and parameters")
        unknown = next((key for key in value if key not in (*_ARGUMENTS, *_BESIDE)), None)
        if unknown is not None:
            raise CallError(f"the key {unknown[:80]!r} is none of a call's: arguments go under 'arguments'")
        arguments = _arguments_of(value[given[0]], tools.get(name)) if given else {}
        return ToolCall(name=name, arguments=arguments, raw=raw)
    except CallError as error:
        return malformed(raw, str(error), name)


def malformed(raw: str, error: str, name: str = "") -> ToolCall:
    """Return a malformed call, with its name where that can be read."""
    found = None if name else _NAME.match(raw, 0, _NAME_WINDOW)
    return ToolCall(
        name=found.group(1) if found else name,
        state=CallState.MALFORMED,
        raw=raw,
        error=f"malformed call: {error}",
    )


def essence(call: ToolCall) -> object:
    """Return what equal calls have in common: name and arguments, or the string of a malformed one."""
    # as JSON, which tells 1 from 1.0 and true
    return call.raw.strip() if call.state is CallState.MALFORMED else (call.name, canonical(call.arguments))


def canonical(value: Json) -> str:
    """A value as JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def whole_json(text: str) -> Json:
    """The JSON value that a text is, but for spaces around it.

    Raises:
        CallError: it is none.
    """
    value, end = read_json(text, 0)
    if skip_space(text, end) != len(text):
        raise CallError("text follows the JSON")
    return value


def skip_space(text: str, start: int) -> int:
    """The index of the first character at or after `start` that is no space in JSON's sense."""
    match = _SPACE.match(text, start)
    return match.end() if match else start


def valid_unicode(text: str) -> str:
    """The text with lone surrogates, which no tokenizer and no file takes, replaced by `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def tool_name(text: str, place: int = 0) -> str:
    """The name of a tool that a format writes bare.

    Raises:
        CallError: the string is not a name, because it has too much or too little.
    """
    name = text.strip()
    if not _TOOL_NAME.fullmatch(name):
        raise CallError(f"{name[:80]!r} is not a tool's name" if name else "the name is missing", place=place)
    return name


def _unwrapped(value: Json) -> dict[str, Json]:
    if isinstance(value, dict) and isinstance(value.get("function"), dict) and "name" not in value:
        if unknown := next((key for key in value if key not in ("function", "id", "type")), None):
            raise CallError(f"the key {unknown[:80]!r} is none of a call's")
        value = value["function"]
    if not isinstance(value, dict):
        raise CallError("a call is a JSON object with name and arguments")
    return value


def _name_of(value: dict[str, Json]) -> str:
    if "name" not in value:
        raise CallError("the name is missing")
    name = value["name"]
    if not isinstance(name, str) or not name:
        raise CallError("the name is not a text")
    if len(name) > MAX_NAME:
        raise CallError(f"the name is longer than {MAX_NAME} characters")
    return name


def _arguments_of(value: Json, tool: Tool | None) -> dict[str, Json]:
    if isinstance(value, str):
        # many models write the object as text once more, as OpenAI's API does
        value = whole_json(value) if value.strip() else None
    if value is None:
        return no_arguments(tool)
    if not isinstance(value, dict):
        raise CallError("the arguments are not a JSON object")
    return value


def no_arguments(tool: Tool | None) -> dict[str, Json]:
    """The arguments of a call that gives null or nothing for them: none, where the tool requires none.

    Raises:
        CallError: it requires some, or is not known.
    """
    if tool is None or tool.parameters.get("required"):
        raise CallError("the arguments are not a JSON object")
    return {}


def deeper_than(value: Json, limit: int) -> bool:
    """Whether a value nests more than `limit` objects and arrays, found level by level."""
    level = [value]
    for _ in range(limit + 1):
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return False
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise CallError(f"the key {twice[:80]!r} is given twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise CallError("a number is too large")
    return number


def _no_constant(text: str) -> float:
    raise CallError(f"{text} is not valid JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_no_constant)
