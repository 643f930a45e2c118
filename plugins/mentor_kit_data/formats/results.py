"""Results of tools as data writes them in one turn, taken apart: one for each call.

<tool_response>{"name": "add", "content": 3}</tool_response>…     Hermes, Qwen
[{"name": "add", "results": {…}}, …]                              ToolACE
[3, 4]                                                            as many as there are calls
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mentor_kit.core.frozen_model import Json
from mentor_kit_data.formats.values import written
from mentor_kit_data.formats.written_calls import blocks

#: What a result stands under beside its tool's name.
_CONTENT = ("content", "results", "result", "response", "output")
_NAMED = re.compile(
    r'\{\s*["\']name["\']\s*:\s*["\']([^"\']{1,128})["\']\s*,\s*["\']content["\']\s*:\s*(.*)\}', re.DOTALL
)


def separate_results(content: str, calls: int) -> list[tuple[str, str]]:
    """The results in a turn, each with its tool's name or "".

    Args:
        content: what the turn holds.
        calls: how many calls wait for a result; what cannot be taken apart into as many is one result.
    """
    tagged = [_named(block) for block in blocks(content, "tool_response")]
    if tagged:
        return tagged if len(tagged) <= max(calls, 1) else [("", content)]
    value = _json(content)
    if not isinstance(value, list) or len(value) != calls:
        return [("", content)]
    pairs = [_pair(item) for item in value]
    if all(pair is not None for pair in pairs):
        return [pair for pair in pairs if pair is not None]
    return [("", content)] if calls == 1 else [("", written(item, "")) for item in value]


def _named(block: str) -> tuple[str, str]:
    """A result with its tool's name; one whose content is no JSON stays as it is written."""
    pair = _pair(_json(block))
    if pair is not None:
        return pair
    found = _NAMED.fullmatch(block.strip())
    return (found.group(1), found.group(2).strip()) if found else ("", block)


def _pair(value: Any) -> tuple[str, str] | None:
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return None
    key = next((key for key in _CONTENT if key in value), None)
    if key is None or any(other not in (*_CONTENT, "name", "tool_call_id", "id") for other in value):
        return None
    return value["name"], written(value[key], "")


def _json(text: str) -> Json:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
