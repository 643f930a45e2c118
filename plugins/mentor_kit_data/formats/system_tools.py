"""Tools that a system message lists, as Hermes, ToolACE, Toucan and Llama prompts do.

Such a message also says how calls are written. The student's own chat template lists the tools and has its own syntax,
so the message is dropped where its tools could be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mentor_kit.core.data_format import DataFormatError
from mentor_kit.core.task import DeclaredTool
from mentor_kit_data.formats.schemas import declared_tools
from mentor_kit_data.formats.written_calls import literal

#: The first tags with JSON in them: prompts mention the tags before they use them.
_TAGGED = re.compile(r"<tools>\s*([\[{](?:(?!<tools>).)*?)\s*</tools>", re.DOTALL)
_LIST_BEGINS = re.compile(r"\[\s*\{")
_DECODER = json.JSONDecoder()


def listed_tools(text: str, column: str) -> tuple[DeclaredTool, ...] | None:
    """The tools that a system message lists; None if it lists none.

    They stand in `<tools>` tags, as one list or one after another, or as a JSON list of descriptions.

    Raises:
        DataFormatError: what stands there are no descriptions of tools.
    """
    tagged = _TAGGED.search(text)
    if tagged is not None:
        return declared_tools(_one_after_another(tagged.group(1), column), column)
    for found in _LIST_BEGINS.finditer(text):
        try:
            value, _ = _DECODER.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            continue
        if all(_is_tool(item) for item in value):
            return declared_tools(value, column)
    return None


def _one_after_another(block: str, column: str) -> list[Any]:
    found: list[Any] = []
    place = 0
    try:
        while place < len(block):
            value, place = _DECODER.raw_decode(block, place)
            found += value if isinstance(value, list) else [value]
            place += len(block[place:]) - len(block[place:].lstrip(" \t\r\n,"))
    except (ValueError, RecursionError) as error:
        try:
            value = literal(block)
        except ValueError:
            raise DataFormatError(column, f"expected the tools' JSON in <tools>: {error}") from None
        found = value if isinstance(value, list) else [value]
    return found


def _is_tool(value: Any) -> bool:
    inner = value.get("function", value) if isinstance(value, Mapping) else None
    return (
        isinstance(inner, Mapping)
        and isinstance(inner.get("name"), str)
        and any(key in inner for key in ("parameters", "inputSchema", "input_schema"))
    )
