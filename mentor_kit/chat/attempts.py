"""Finds attempted calls: strings that resemble a call and that the family's parser does not read as one.

They are malformed calls: the next message has the reason, statistics count them, and none is a final answer.
These are attempts, outside of reasoning:

    a mark of any family's calls (`<tool_call>`, `[TOOL_CALLS]`, `to=functions.` …), wherever it stands, but for one
    that closes, behind a call
    a JSON object with a tool's name and arguments and nothing else, or a list of them, that begins a line
    name(key=…), or a list of it, with a tool's name, if the turn has nothing else

These are words: a tool's name in a sentence, any other JSON, a mark in inline code (`…`), and JSON in a code fence,
unless the fence is the whole turn.
"""

from __future__ import annotations

import ast
import re
import string
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from mentor_kit.chat.calls import CallError, Tools, malformed, read_json
from mentor_kit.core.conversation import Message
from mentor_kit.core.frozen_model import Json

#: Marks of the families' calls, which plain language does not have.
_MARKS = (
    "<tool_call>", "</tool_call>", "<function=", "<parameter=", "<arg_key>", "<arg_value>",
    "[TOOL_CALLS]", "<|tool_call>call:", "<tool_call|>", "<|tool_call|>", "<|/tool_call|>",
    "<|tool_call_start|>", "<|tool_call_end|>", "<|python_tag|>", "<function_call>", "</function_call>",
    "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>",
    "to=functions.", "<|channel|>commentary", "```tool_call", "```tool_code",
)  # fmt: skip
_MARK = re.compile("|".join(map(re.escape, _MARKS)) + r"|(?<=[A-Za-z0-9_.\-])\[ARGS\](?=\s*\{)")
_INLINE_CODE = re.compile(r"(?<!`)`[^`\n]+`(?!`)")
_FENCED = re.compile(r"^[ \t]*```.*?(?:^[ \t]*```[^\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_ONLY_A_FENCE = re.compile(r"\s*```[a-z]*[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL)
_JSON_BEGINS = re.compile(r"^[ \t]*(?=[{\[])", re.MULTILINE)
_NAME_FIRST = re.compile(
    r'[\[\s]*\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"([A-Za-z0-9_.\-]{1,128})"\s*,\s*"(?:arguments|parameters)"'
)
_ANY_NAME_FIRST = re.compile(r'^[ \t]*\{\s*"name"\s*:', re.MULTILINE)
_PYTHON_BEGINS = re.compile(r"\s*\[?\s*([A-Za-z0-9_.\-]{1,128})\(")
_NAME = re.compile(
    r"<function=([\w.\-]{1,128})>|to=functions\.([\w.\-]{1,128})|call:([\w.\-]{1,128})\{"
    r"|\[TOOL_CALLS\]\s*([\w.\-]{1,128})|([\w.\-]{1,128})\[ARGS\]|<tool_call>\s*([\w.\-]{1,128})\s*<"
)
_CLOSING = re.compile(
    r"</tool_call>|<tool_call\|>|<\|tool_call_end\|>|<\|/tool_call\|>|<｜tool▁calls?▁end｜>|</function_call>"
)
_CALL_KEYS = {"name", "arguments", "parameters", "id", "type"}
#: Limits of the search: beginnings of JSON that are read, and characters of a call in Python's form.
_MOST, _LONGEST = 64, 10_000
_NAME_CHARACTERS = f"{string.ascii_letters}{string.digits}_.-"
#: An attempt's name stands within its first characters.
_WINDOW = 2000


class _Attempt(NamedTuple):
    start: int
    reason: str
    name: str = ""


def with_attempts(message: Message, tools: Tools) -> Message:
    """The message, with an attempt in its content, and all that follows it there, as a malformed call."""
    content = message.content
    found = min((one for one in _attempts(content, tools) if one), default=None)
    if found is None:
        return message
    raw = content[found.start :].strip()
    if message.tool_calls and not _CLOSING.sub("", raw).strip():
        return message  # one closing mark too many, behind a call that was read or is malformed
    call = malformed(raw, found.reason, found.name)
    if not call.name and (named := _NAME.search(raw, 0, _WINDOW)):
        call = call.model_copy(update={"name": next(filter(None, named.groups()))})
    return message.model_copy(
        update={"content": content[: found.start].strip(), "tool_calls": (*message.tool_calls, call)}
    )


def _attempts(content: str, tools: Tools) -> Iterator[_Attempt | None]:
    yield _mark(content)
    if tools:
        yield _json(content, tools)
        yield _python(content, tools)


def _mark(content: str) -> _Attempt | None:
    # one search a mark is much quicker than the pattern, and finds none in most turns
    if not any(mark in content for mark in (*_MARKS, "[ARGS]")):
        return None
    found = _MARK.search(_without(_INLINE_CODE, content))
    if found is None:
        return None
    start = found.start()
    if found.group().startswith("</") and (json := _ANY_NAME_FIRST.search(content, 0, start)):
        start = json.start()
    elif found.group() == "[ARGS]":
        start = len(content[:start].rstrip(_NAME_CHARACTERS))
    return _Attempt(start, f"{found.group()} outside of a call")


def _json(content: str, tools: Tools) -> _Attempt | None:
    if only := _ONLY_A_FENCE.fullmatch(content):
        return _Attempt(0, "a call in a code fence") if _names_a_tool(only.group(1).lstrip(), 0, tools) else None
    for found in islice(_JSON_BEGINS.finditer(_without(_FENCED, content)), _MOST):
        if _names_a_tool(content, found.end(), tools):
            return _Attempt(found.start(), "a call as JSON, without the marks around it")
    return None


def _names_a_tool(text: str, place: int, tools: Tools) -> bool:
    """Return whether the JSON that begins at `place` is a call, or a list of calls, as far as it can be read."""
    try:
        value, _ = read_json(text, place)
    except CallError:
        first = _NAME_FIRST.match(text, place)
        return first is not None and first.group(1) in tools
    calls = value if isinstance(value, list) else [value]
    return bool(calls) and all(_is_call(call, tools) for call in calls)


def _is_call(value: Json, tools: Tools) -> bool:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    return (
        isinstance(value, dict)
        and set(value) <= _CALL_KEYS
        and isinstance(value.get("name"), str)
        and value["name"] in tools
        and ("arguments" in value or "parameters" in value)
    )


def _python(content: str, tools: Tools) -> _Attempt | None:
    begins = _PYTHON_BEGINS.match(content)
    if begins is None or begins.group(1) not in tools or len(content) > _LONGEST:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(content.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    calls = tree.elts if isinstance(tree, ast.List) else [tree]
    if not all(isinstance(call, ast.Call) and not call.args for call in calls):
        return None
    return _Attempt(0, "a call in Python's form, without the marks around it", begins.group(1))


def _without(pattern: re.Pattern[str], text: str) -> str:
    """The text with spaces in place of what the pattern finds."""
    return pattern.sub(lambda found: " " * len(found.group()), text)
