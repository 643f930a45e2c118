"""Messages whose content is a list of parts, as messages with text, reasoning, calls and results of their own.

{"type": "text", "text" | "value"}                   OpenAI, Anthropic; LLaMA-Factory's v1 has its parts under value
{"type": "reasoning" | "thinking", "value" | "thinking"}
{"type": "tool_call", "value": "{…}"}                LLaMA-Factory's v1
{"type": "tool_use", "id", "name", "input"}          Anthropic
{"type": "tool_result", "tool_use_id", "content"}    Anthropic, in a message of the user
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mentor_kit.core.data_format import DataFormatError
from mentor_kit_data.formats.values import shown, text, written

_REASONING = ("reasoning", "thinking")


def without_parts(message: Mapping[str, Any], column: str) -> list[Mapping[str, Any]]:
    """The messages that a message with parts stands for: the results in it, then what else it holds.

    Raises:
        DataFormatError: a part is of another kind, such as an image.
    """
    content = message.get("content")
    if not isinstance(content, list) or message.get("role") in ("tool", "function"):
        return [message] if not isinstance(content, list) else [{**message, "content": _joined(content)}]
    results: list[Mapping[str, Any]] = []
    calls: list[Any] = []
    words: list[str] = []
    reasoning: list[str] = []
    for index, part in enumerate(content):
        place = f"{column}.content.{index}"
        kind = part.get("type") if isinstance(part, Mapping) else "text"
        if kind == "tool_result":
            answered = {"tool_call_id": part.get("tool_use_id"), "content": _joined(part.get("content"))}
            results.append({"role": "tool", **answered})
        elif kind == "tool_use":
            calls.append({"id": part.get("id"), "name": part.get("name"), "arguments": part.get("input")})
        elif kind == "tool_call":
            calls.append(part.get("value"))
        elif kind in _REASONING:
            reasoning.append(text(_value(part, kind), place))
        elif kind in ("text", None):
            words.append(text(_value(part, "text") if isinstance(part, Mapping) else part, place))
        else:
            raise DataFormatError(place, f"expected a part with text, found {shown(part)}")
    rest = {
        **message,
        "content": "".join(words),
        **({"tool_calls": calls} if calls else {}),
        **({"reasoning_content": "\n".join(reasoning)} if reasoning else {}),
    }
    return [*results, rest] if words or calls or reasoning or not results else results


def _value(part: Mapping[str, Any], key: str) -> Any:
    """What a part holds; None is no text."""
    found = next((part[name] for name in (key, "value", "text") if part.get(name) is not None), None)
    return part if found is None else found


def _joined(content: Any) -> str:
    """The content of a result: its parts' text, or anything else as JSON."""
    if isinstance(content, list) and content and all(isinstance(part, Mapping) and "value" in part for part in content):
        content = [{"text": part["value"]} for part in content]
    return written(content, "")
