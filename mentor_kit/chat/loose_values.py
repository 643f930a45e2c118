"""Calls whose arguments are no JSON: Gemma's quotation marks, and LFM's calls in Python's form."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
import warnings
from itertools import pairwise
from keyword import iskeyword
from typing import ClassVar

from mentor_kit.chat.calls import MAX_DEPTH, CallError, call_of, read_json, skip_space
from mentor_kit.chat.markup import Syntax
from mentor_kit.conversation import ToolCall
from mentor_kit.record import Json

_CALL, _END_CALL, _QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'
_NAME = re.compile(r"call:([A-Za-z0-9_.\-]{1,128})")
_KEY = re.compile(r"[^\s:{}\[\],]{1,256}")
_LITERAL = re.compile(r"[^\s,\]}]{1,400}")

#: Longer lists of calls are refused before Python's own parser sees them.
_LONGEST = 20_000
#: A letter that names of arguments do not end with.
_MARK = "ˌ"


def _gemma(text: str, start: int) -> tuple[list[ToolCall], int]:
    """`<|tool_call>call:name{key:<|"|>text<|"|>,other:1}<tool_call|>`."""
    name = _NAME.match(text, start + len(_CALL))
    if name is None:
        raise CallError("the name is missing")
    arguments, place = _value(text, name.end(), MAX_DEPTH)
    place = skip_space(text, place)
    if not text.startswith(_END_CALL, place):
        raise CallError(f"{_END_CALL} is missing")
    after = place + len(_END_CALL)
    return [call_of({"name": name.group(1), "arguments": arguments}, text[start:after])], after


def _value(text: str, place: int, levels: int) -> tuple[Json, int]:
    place = skip_space(text, place)
    if levels == 0:
        raise CallError(f"nested deeper than {MAX_DEPTH} levels")
    if text.startswith(_QUOTE, place):
        return _quoted(text, place)
    if text.startswith("{", place):
        return _mapping(text, place + 1, levels)
    if text.startswith("[", place):
        return _list(text, place + 1, levels)
    literal = _LITERAL.match(text, place)
    if literal is None:
        raise CallError("a value is missing")
    value, end = read_json(literal.group(), 0)
    if end != len(literal.group()):
        raise CallError(f"{literal.group()[:80]!r} is no value")
    return value, literal.end()


def _quoted(text: str, place: int) -> tuple[str, int]:
    end = text.find(_QUOTE, place + len(_QUOTE))
    if end < 0:
        raise CallError(f"{_QUOTE} is missing")
    return text[place + len(_QUOTE) : end], end + len(_QUOTE)


def _mapping(text: str, place: int, levels: int) -> tuple[dict[str, Json], int]:
    found: dict[str, Json] = {}
    place = skip_space(text, place)
    while not text.startswith("}", place):
        place = _separated(text, place, bool(found))
        if text.startswith(_QUOTE, place):
            key, place = _quoted(text, place)
        elif match := _KEY.match(text, place):
            key, place = match.group(), match.end()
        else:
            raise CallError("a key is missing")
        place = skip_space(text, place)
        if not text.startswith(":", place) or key in found:
            raise CallError(f"the key {key[:80]!r} has no value, or two")
        found[key], place = _value(text, place + 1, levels - 1)
        place = skip_space(text, place)
    return found, place + 1


def _list(text: str, place: int, levels: int) -> tuple[list[Json], int]:
    found: list[Json] = []
    place = skip_space(text, place)
    while not text.startswith("]", place):
        place = _separated(text, place, bool(found))
        value, place = _value(text, place, levels - 1)
        found.append(value)
        place = skip_space(text, place)
    return found, place + 1


def _separated(text: str, place: int, needed: bool) -> int:
    if needed:
        if not text.startswith(",", place):
            raise CallError("a comma is missing")
        place = skip_space(text, place + 1)
    if place >= len(text):
        raise CallError("the arguments are not closed")
    return place


_CALLS, _END_CALLS = "<|tool_call_start|>", "<|tool_call_end|>"


def _pythonic(text: str, start: int) -> tuple[list[ToolCall], int]:
    """`<|tool_call_start|>[name(key='text', other=1), …]<|tool_call_end|>`."""
    end = text.find(_END_CALLS, start)
    if end < 0:
        raise CallError(f"{_END_CALLS} is missing")
    written = text[start + len(_CALLS) : end].strip()
    after = end + len(_END_CALLS)
    tree = _python(written)
    if not isinstance(tree, ast.List) or not tree.elts:
        raise CallError("calls are a list, such as [name(key='value')]")
    return [_python_call(node, text[start:after]) for node in tree.elts], after


def _python(written: str) -> ast.expr:
    if len(written) > _LONGEST:
        raise CallError(f"calls of more than {_LONGEST} characters")
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(_without_keywords(written), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        raise CallError("not valid: expected [name(key='value'), …]") from None


def _without_keywords(written: str) -> str:
    """The calls with a mark behind each argument that is called as a word of Python's grammar is (`from=1`)."""
    lines = list(io.StringIO(written))
    tokens = list(tokenize.generate_tokens(iter(lines).__next__))
    for token, following in reversed(list(pairwise(tokens))):
        if token.type == tokenize.NAME and iskeyword(token.string) and following.string == "=":
            row, column = token.end
            line = lines[row - 1]
            lines[row - 1] = line[:column] + _MARK + line[column:]
    return "".join(lines)


def _unmarked(name: str) -> str:
    plain = name.removesuffix(_MARK)
    return plain if iskeyword(plain) else name


def _python_call(node: ast.expr, raw: str) -> ToolCall:
    if not isinstance(node, ast.Call) or node.args:
        raise CallError("a call is name(key='value'), with every argument by name")
    arguments: dict[str, Json] = {}
    for keyword in node.keywords:
        name = _unmarked(keyword.arg or "")
        if not name or name in arguments:
            raise CallError("an argument without a name, or given twice")
        arguments[name] = _literal(keyword.value)
    return call_of({"name": _dotted(node.func), "arguments": arguments}, raw)


def _dotted(node: ast.expr) -> str:
    """A name, with dots or without."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute) and len(parts) < MAX_DEPTH:
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise CallError("the name is missing")
    return ".".join([node.id, *reversed(parts)])


class _JsonWords(ast.NodeTransformer):
    """Templates write lists and mappings as JSON: its words stand for Python's, at any depth."""

    _WORDS: ClassVar = {"true": True, "false": False, "null": None}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(self._WORDS[node.id]) if node.id in self._WORDS else node


def _literal(node: ast.expr) -> Json:
    try:
        value = ast.literal_eval(_JsonWords().visit(node))
        text = json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise CallError("an argument is no text, number, list or mapping") from None
    return read_json(text, 0)[0]


GEMMA = Syntax(_CALL, _END_CALL, _gemma)
PYTHONIC = Syntax(_CALLS, _END_CALLS, _pythonic)
