"""Adapts a dialogue's history to strict servers: names, ids and arguments of calls, and strings."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from itertools import count

from mentor_kit.chat.calls import CallError, valid_unicode, whole_json
from mentor_kit.core.frozen_model import Json

#: Content where a server requires some and there is none.
EMPTY = "(empty)"
#: The result of a call that has none in a given history.
NO_RESULT = "(no result)"

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_LONGEST_NAME = 64
_LONGEST_ID = 128


def name_for_server(name: Json, offered: Collection[str] = ()) -> str:
    """Return a called tool's name: unchanged where the server was offered it, else with `_` for others."""
    if not isinstance(name, str) or not name.strip():
        return "unknown"
    if name in offered or _NAME.fullmatch(name):
        return name
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:_LONGEST_NAME]


def arguments_for_server(arguments: Json) -> dict[str, Json] | None:
    """A call's arguments as an object; None where they are none, and the call is malformed."""
    text = arguments if isinstance(arguments, str) else as_json(arguments)
    try:
        found = whole_json(text) if text.strip() else None
    except CallError:
        return None
    return {} if found is None else found if isinstance(found, dict) else None


def id_for_server(given: Json, taken: Collection[str], pattern: re.Pattern[str] | None = None) -> str:
    """A call's id as the server gave it; a made-up one where it gave none, one twice, or one that it would refuse."""
    usable = isinstance(given, str) and given.strip() and len(given) <= _LONGEST_ID and given not in taken
    if usable and (pattern is None or pattern.fullmatch(given)):
        return str(given)
    # nine letters and digits: some servers accept no others
    return next(made for number in count() if (made := f"call{number:05d}") not in taken)


def plain(value: Json) -> Json:
    """The same JSON without lone surrogates, which cannot be sent."""
    if isinstance(value, str):
        return value if value.isascii() else valid_unicode(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    return value


def as_json(value: Json) -> str:
    """JSON on one line, in the characters it holds."""
    return valid_unicode(json.dumps(value, ensure_ascii=False))
