"""Tool calls out of JSON that a model wrote: strict, bounded, and never raising.

What a model writes is hostile by default: truncated, nested a thousand levels deep, with numbers of ten
thousand digits or half of a surrogate pair. Every such text becomes a call in state MALFORMED.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

from mentor_kit.conversation import CallState, ToolCall
from mentor_kit.record import Json

#: Arguments nested deeper than this are refused: run folders, schemas and templates recurse into them.
MAX_DEPTH = 32
#: No tool's name is longer.
MAX_NAME = 128

_NAME_WINDOW = 2000
_NAME = re.compile(r'"name"\s*:\s*"([A-Za-z0-9_.\-]{1,128})"')
_SPACE = re.compile(r"[ \t\n\r]*")


class CallError(ValueError):
    """A text is no call; the message says why, in words a model can read."""


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
    if _deeper_than(value, MAX_DEPTH):
        raise CallError(f"nested deeper than {MAX_DEPTH} levels")
    return value, end


def call_of(value: Json, raw: str, *, arguments_keys: tuple[str, ...] = ("arguments",)) -> ToolCall:
    """The call that a JSON value describes: PARSED, or MALFORMED with the reason.

    Args:
        value: an object with `name` and, if the tool takes any, arguments: an object, or text that holds one.
        raw: the text the value was read from.
        arguments_keys: under which names the arguments may stand; the first that is there counts.
    """
    try:
        name = _name_of(value)
        arguments: Json = next((value[key] for key in arguments_keys if key in value), {})
        return ToolCall(name=name, arguments=_arguments_of(arguments), raw=raw)
    except CallError as error:
        return malformed(raw, str(error))


def malformed(raw: str, error: str) -> ToolCall:
    """A call that could not be read, with its name where one can be made out."""
    name = _NAME.search(raw, 0, _NAME_WINDOW)
    return ToolCall(
        name=name.group(1) if name else "",
        state=CallState.MALFORMED,
        raw=raw,
        error=f"malformed call: {error}",
    )


def skip_space(text: str, start: int) -> int:
    """The index of the first character at or after `start` that is no space in JSON's sense."""
    match = _SPACE.match(text, start)
    return match.end() if match else start


def valid_unicode(text: str) -> str:
    """The text with lone surrogates, which no tokenizer and no file takes, replaced by `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _name_of(value: Json) -> str:
    if not isinstance(value, dict):
        raise CallError("a call is a JSON object with name and arguments")
    if "name" not in value:
        raise CallError("the name is missing")
    name = value["name"]
    if not isinstance(name, str) or not name:
        raise CallError("the name is not a text")
    if len(name) > MAX_NAME:
        raise CallError(f"the name is longer than {MAX_NAME} characters")
    return name


def _arguments_of(value: Json) -> dict[str, Json]:
    if isinstance(value, str):
        # many models write the object as text once more, as OpenAI's wire format does
        text = value
        value, end = read_json(text, 0)
        if skip_space(text, end) != len(text):
            raise CallError("text follows the arguments")
    if not isinstance(value, dict):
        raise CallError("the arguments are not a JSON object")
    return value


def _deeper_than(value: Json, limit: int) -> bool:
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
