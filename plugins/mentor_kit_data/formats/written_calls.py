"""Calls in an assistant's words, in the notation of the data or of any family of models.

<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>   Hermes, Qwen; also as a Python dictionary
<TOOLCALL>[{"name": "add", "arguments": {"a": 1}}]</TOOLCALL>   Nemotron, When2Call
[add(a=1), add(a=2)]                                            ToolACE, Llama, BFCL
{"name": "add", "parameters": {"a": 1}}                         Llama 3; also in a block of Markdown's
[TOOL_CALLS], <function=…>, <|tool_call_start|>, …              the families of `mentor_kit.chat`
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mentor_kit.chat.calls import CallError, call_of, read_json, whole_json
from mentor_kit.chat.families import BUILT_IN
from mentor_kit.core.conversation import CallState, ToolCall
from mentor_kit.core.data_format import DataFormatError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import DeclaredTool
from mentor_kit.core.tool import Tool
from mentor_kit_data.formats.schemas import tool_name
from mentor_kit_data.formats.values import shown

_THINK = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
#: Calls between tags: of Hermes and Qwen, of Nemotron and When2Call, of Glaive (which closes none), of others.
_TAGGED = re.compile(
    r"<(?P<tag>tool_calls?|TOOLCALL|function_?calls?)>\s*(?P<calls>[\[{].*?)\s*(?:</(?P=tag)>|<\|endoftext\|>|\Z)",
    re.DOTALL,
)
#: What words with calls have, and plain words hardly: a mark of some family's calls.
_MARKS = re.compile(
    r"<tool_call>|<TOOLCALL>|<function=|\[TOOL_CALLS\]|<\|tool_call|<\|python_tag\|>|<｜tool▁call|to=functions\.|\[ARGS\]"
)
_LIST = re.compile(r"\[\s*[^\[\](){}\"=]*\(.*\)\s*\]", re.DOTALL)
#: A turn that is one block of JSON in Markdown.
_FENCED = re.compile(r"```(?:json)?\s*(?P<json>[\[{].*[\]}])\s*```", re.DOTALL)
_PYTHONIC = ("<|tool_call_start|>", "<|tool_call_end|>")
_LONGEST_LITERAL = 20_000


@dataclass(frozen=True)
class WrittenTurn:
    """What an assistant's turn consists of."""

    content: str
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()


def read_turn(text: str, tools: Sequence[DeclaredTool], column: str) -> WrittenTurn:
    """An assistant's words, with the reasoning and the calls in them apart.

    Raises:
        DataFormatError: the mark of a call stands in the words, and no call can be read.
    """
    thought = _THINK.match(text)
    reasoning, words = (thought.group(1).strip(), text[thought.end() :]) if thought else ("", text)
    stripped = words.strip()
    if _TAGGED.search(words):
        found = _tagged(words, column)
    elif _MARKS.search(words):
        found = _of_some_family(words, tools, column)
    elif _LIST.fullmatch(stripped):
        found = _listed(stripped, tools) or WrittenTurn(words)
    elif (fenced := _FENCED.fullmatch(stripped)) is not None or stripped[:1] in ("{", "["):
        found = _json(fenced["json"] if fenced else stripped, tools) or WrittenTurn(words)
    else:
        found = WrittenTurn(words)
    return WrittenTurn(found.content, reasoning or found.reasoning, found.calls)


def _tagged(text: str, column: str) -> WrittenTurn:
    calls = []
    for found in _TAGGED.finditer(text):
        block = found["calls"]
        for value in _values(block, column):
            call = call_of(_safe_name(value), block)
            if call.state is CallState.MALFORMED:
                raise DataFormatError(column, f"a call that cannot be read: {call.error}: {shown(block)}")
            calls.append(_clean(call))
    return WrittenTurn(_TAGGED.sub("", text).strip(), "", tuple(calls))


def call_values(value: Any, column: str) -> list[Any]:
    """The calls of a turn that has nothing else: one, a list, or either as a string in JSON or Python's notation.

    Raises:
        DataFormatError: the string is neither.
    """
    if isinstance(value, str):
        return _values(value, column)
    return value if isinstance(value, list) else [value]


def _values(block: str, column: str) -> list[Any]:
    """The calls in one block: JSON, or Python's notation of it; a list, or several one after another."""
    found: list[Any] = []
    place = 0
    try:
        while block[place:].strip():
            value, place = read_json(block, place)
            found += value if isinstance(value, list) else [value]
    except CallError as error:
        try:
            value = literal(block)
        except ValueError:
            raise DataFormatError(column, f"a call that cannot be read: {error}: {shown(block)}") from None
        found = value if isinstance(value, list) else [value]
    return found


def literal(text: str) -> Json:
    """The value of a Python literal, as JSON has it: tuples are lists, and keys are strings.

    Raises:
        ValueError: it is none, too long, or has values that JSON does not have, such as a set.
    """
    if len(text) > _LONGEST_LITERAL:
        raise ValueError("too long")
    try:
        with warnings.catch_warnings(action="ignore"):
            value: Json = json.loads(json.dumps(ast.literal_eval(text.strip())))
    except (SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise ValueError(str(error)) from None
    return value


def _of_some_family(text: str, tools: Sequence[DeclaredTool], column: str) -> WrittenTurn:
    """The turn as the first family reads it that reads all of its calls."""
    known = _by_name(tools)
    for family in BUILT_IN:
        message = family.parser(False).parse(text, known)
        if message.tool_calls and all(call.state is CallState.PARSED for call in message.tool_calls):
            return WrittenTurn(message.content, message.reasoning, tuple(map(_clean, message.tool_calls)))
    raise DataFormatError(column, f"calls that no family of models writes: {shown(text)}")


def _listed(text: str, tools: Sequence[DeclaredTool]) -> WrittenTurn | None:
    """`[name(key=value), …]`, whose names may have blanks; None where it is no list of calls."""
    opening, closing = _PYTHONIC
    parser = next(family for family in BUILT_IN if family.name == "lfm-2").parser(False)
    message = parser.parse(f"{opening}{_with_safe_names(text)}{closing}", _by_name(tools))
    if not message.tool_calls or any(call.state is not CallState.PARSED for call in message.tool_calls):
        return None
    return WrittenTurn("", "", tuple(map(_clean, message.tool_calls)))


def _with_safe_names(text: str) -> str:
    """A list of calls with the names of tools as they may be; strings and arguments stay as they are."""
    written: list[str] = []
    depth, begin, quote, place = 0, 1, "", 1
    while place < len(text):
        letter = text[place]
        if quote:
            place += letter == "\\"
            quote = "" if letter == quote else quote
        elif letter in "'\"" and depth:
            quote = letter
        elif letter in "([{":
            if not depth:
                name = text[begin:place].strip(" ,\n\t")
                written.append(f"{', ' if written else ''}{tool_name(name)}")
                begin = place
            depth += 1
        elif letter in ")]}" and depth:
            depth -= 1
            if not depth:
                written.append(text[begin : place + 1])
                begin = place + 1
        place += 1
    return f"[{''.join(written)}]" if not depth else text


def _json(text: str, tools: Sequence[DeclaredTool]) -> WrittenTurn | None:
    """A turn that is nothing but calls in JSON; None where it is something else, such as an answer in JSON."""
    try:
        value = whole_json(text)
    except CallError:
        return None
    values = value if isinstance(value, list) else [value]
    names = {tool.name for tool in tools}
    calls = [call_of(_safe_name(item), text) for item in values if isinstance(item, Mapping)]
    readable = all(call.state is CallState.PARSED and call.name in names for call in calls)
    return WrittenTurn("", "", tuple(map(_clean, calls))) if calls and len(calls) == len(values) and readable else None


def _safe_name(value: Any) -> Any:
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return {**value, "name": tool_name(value["name"])}
    return value


def _clean(call: ToolCall) -> ToolCall:
    return ToolCall(name=call.name, arguments=call.arguments)


def _by_name(tools: Sequence[DeclaredTool]) -> dict[str, Tool]:
    return {tool.name: Tool.declared(tool.name, tool.description, tool.parameters) for tool in tools}


def blocks(text: str, tag: str) -> Iterator[str]:
    """Yield what stands between the tags of a name, such as `tool_response`."""
    for found in re.finditer(rf"<{tag}>\s*(.*?)\s*</{tag}>", text, re.DOTALL):
        yield found.group(1)
