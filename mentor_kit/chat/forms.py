"""Writes calls in a family's syntax: the inverse of its parser, without a chat template.

    form.call("add", {"a": 1})      a call, with the marks around it
    form.say("The answer is 2.")    content
    form.think("First add.")        reasoning

A template renders valid calls alone. A form writes any: a name that is a number, an argument that is `NaN`. Audits
build attacks with it (`mentor_kit.audits`), and `FORMS` has the marks of all families.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mentor_kit.core.frozen_model import Json

#: Writes a call: (name, arguments); both may be any JSON with `Literal` in it, and arguments may be missing.
Write = Callable[[Json, Json], str]


class Literal(str):
    """A value's exact string: `NaN`, half a list, five thousand digits."""

    __slots__ = ()


#: Stands for arguments that are not written at all.
MISSING = Literal("")


@dataclass(frozen=True)
class Form:
    """A family's syntax of calls, content and reasoning."""

    opening: str
    """The mark before calls; empty if there is none."""
    closing: str
    """The mark after them; empty if there is none."""
    call: Write
    """Writes a call with its marks."""
    thought: tuple[str, str] = ("<think>\n", "\n</think>\n")
    """The marks around reasoning."""
    content_mark: str = ""
    """The mark before content."""
    turn: tuple[str, str] = ("<|im_start|>assistant\n", "<|im_start|>tool\n")
    """The marks that begin an assistant's turn and a tool's."""
    result: tuple[str, str] = ("<tool_response>\n", "\n</tool_response>")
    """The marks around a tool's result."""
    several: bool = True
    """Whether one turn may have several calls."""
    words: bool = True
    """Whether a turn with calls may have content, too."""
    is_json: bool = False
    """Whether a call is one JSON object with its name."""
    marks: tuple[str, ...] = ()
    """More marks, which content never has."""
    escape: Callable[[str], str] | None = None
    """Escapes a text that the family's templates put between quotation marks as it is; None where none does."""
    unsaid: str = ""
    """A pattern for what is not content; if left out, what stands between the marks around reasoning."""

    def say(self, words: str) -> str:
        """Return content with its mark."""
        return self.content_mark + words

    def think(self, reasoning: str) -> str:
        """Reasoning."""
        return reasoning.join(self.thought)

    @property
    def silence(self) -> str:
        """A pattern for what is not content: the reasoning (`re.DOTALL`), to the end where it is never closed."""
        first, last = (re.escape(mark.strip()) for mark in self.thought)
        return self.unsaid or rf"{first}.*?(?:{last}|\Z)"

    @property
    def all_marks(self) -> frozenset[str]:
        """The marks of the form, which content and reasoning never have."""
        found = (self.opening, self.closing, *self.thought, self.content_mark, *self.turn, *self.result, *self.marks)
        return frozenset(mark.strip() for mark in found if mark.strip())


def json_text(value: Json) -> str:
    """A value as JSON, its literals as they are."""
    if isinstance(value, Literal):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json_text(str(key))}: {json_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(json_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def json_call(opening: str, closing: str, key: str = "arguments") -> Write:
    """A JSON object between marks."""

    def write(name: Json, arguments: Json) -> str:
        given = "" if arguments is MISSING else f', "{key}": {json_text(arguments)}'
        return f'{opening}{{"name": {json_text(name)}{given}}}{closing}'

    return write


def _named(opening: str, between: str, closing: str, arguments_text: Callable[[Json], str]) -> Write:
    """A bare name and arguments between marks."""

    def write(name: Json, arguments: Json) -> str:
        return f"{opening}{_bare(name)}{between}{arguments_text(arguments)}{closing}"

    return write


def _bare(value: Json) -> str:
    return value if isinstance(value, str) else json_text(value)


def _json_arguments(arguments: Json) -> str:
    return "" if arguments is MISSING else json_text(arguments)


def _tagged(first: str, second: str, last: str) -> Callable[[Json], str]:
    """Keys and bare values between marks; what is no object stands there as it is."""

    def write(arguments: Json) -> str:
        if not isinstance(arguments, Mapping):
            return _json_arguments(arguments)
        return "".join(f"{first}{key}{second}{_bare(value)}{last}" for key, value in arguments.items())

    return write


_QUOTE = '<|"|>'


def _gemma(value: Json) -> str:
    if isinstance(value, str) and not isinstance(value, Literal):
        return f"{_QUOTE}{value}{_QUOTE}"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_gemma(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_gemma, value)) + "]"
    return json_text(value)


def _python(value: Json) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_python(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_python, value)) + "]"
    return str(value) if isinstance(value, Literal) else repr(value)


def _python_escaped(text: str) -> str:
    """What Python writes between apostrophes."""
    return repr(f'"{text}')[2:-1]  # a quotation mark in front, so that it takes apostrophes


def _keywords(arguments: Json) -> str:
    if not isinstance(arguments, Mapping):
        return "" if arguments is MISSING else _python(arguments)
    return ", ".join(f"{key}={_python(value)}" for key, value in arguments.items())


_TAGS = ("<tool_call>\n", "\n</tool_call>")
_QWEN = ("<|im_start|>", "<|im_end|>")
_DEEPSEEK = (
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
)
_PHI = ("<|tool_call|>", "<|/tool_call|>")
_HARMONY = "<|start|>assistant"
# a message begins after the mark, after another message, and where the turn does; its header is not content
_BEGINS = r"(?:\A|<\|start\|>|(?<=<\|end\|>)|(?<=<\|call\|>)|(?<=<\|return\|>))"
_HEADER = r"(?:(?!<\|start\|>assistant|<\|message\|>).)*?"
_TO_CHANNEL = r"(?:(?!<\|start\|>assistant|<\|message\|>|<\|channel\|>\s*[a-z]).)*?<\|channel\|>\s*"
_ENDS = r"<\|(?:end|call|return)\|>"
_HARMONY_UNSAID = (
    rf"{_BEGINS}{_TO_CHANNEL}analysis(?![a-z]){_HEADER}<\|message\|>.*?(?:{_ENDS}|(?=<\|start\|>)|\Z)"
    rf"|{_BEGINS}{_HEADER}<\|message\|>|{_BEGINS}{_TO_CHANNEL}[a-z]{_HEADER}(?=<\|start\|>assistant|\Z)"
    rf"|{_ENDS}|<\|start\|>assistant"
)

#: The families' forms, by their names (`mentor_kit.chat.families`).
FORMS: Mapping[str, Form] = {
    "hermes": Form(*_TAGS, json_call(*_TAGS), marks=_QWEN, is_json=True),
    "llama-3": Form(
        "",
        "",
        json_call("", "", "parameters"),
        turn=("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|start_header_id|>ipython<|end_header_id|>\n\n"),
        result=("<|start_header_id|>ipython<|end_header_id|>\n\n", "<|eot_id|>"),
        several=False,
        words=False,
        is_json=True,
        unsaid=r"\A\s*<think>.*?(?:</think>|\Z)",  # anywhere else it is a word
        marks=("<|python_tag|>", "<|eot_id|>", "<|eom_id|>", "<|start_header_id|>"),
    ),
    "function-xml": Form(
        *_TAGS,
        _named(
            "<tool_call>\n<function=",
            ">\n",
            "</function>\n</tool_call>",
            _tagged("<parameter=", ">\n", "\n</parameter>\n"),
        ),
        marks=(*_QWEN, "<function=", "</function>", "<parameter=", "</parameter>"),
    ),
    "key-value-xml": Form(
        *_TAGS,
        _named(
            "<tool_call>",
            "\n",
            "</tool_call>",
            _tagged("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n"),
        ),
        turn=("<|assistant|>\n", "<|observation|>\n"),
        marks=("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    ),
    "mistral": Form(
        "[TOOL_CALLS]",
        "",
        json_call("[TOOL_CALLS][", "]"),
        thought=("[THINK]", "[/THINK]"),
        turn=("[/INST]", "[TOOL_RESULTS]"),
        result=("[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
        is_json=True,
        marks=("[ARGS]", "[CALL_ID]", "[INST]"),
    ),
    "deepseek": Form(
        _DEEPSEEK[0],
        _DEEPSEEK[-1],
        _named("".join(_DEEPSEEK[:2]), _DEEPSEEK[2], "".join(_DEEPSEEK[3:]), _json_arguments),
        turn=("<｜Assistant｜>", "<｜tool▁output▁begin｜>"),
        result=("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"),
        marks=(*_DEEPSEEK, "<｜User｜>"),
    ),
    "gemma-4": Form(
        "<|tool_call>",
        "<tool_call|>",
        _named("<|tool_call>call:", "", "<tool_call|>", lambda given: "{}" if given is MISSING else _gemma(given)),
        thought=("<|channel>thought\n", "\n<channel|>"),
        turn=("<|turn>model\n", "<|turn>user\n"),
        result=("<|tool_response>", "<tool_response|>"),
        marks=(_QUOTE, "<|turn>", "<turn|>"),
    ),
    "lfm-2": Form(
        "<|tool_call_start|>",
        "<|tool_call_end|>",
        _named("<|tool_call_start|>[", "(", ")]<|tool_call_end|>", _keywords),
        result=("<|tool_response_start|>", "<|tool_response_end|>"),
        marks=_QWEN,
        escape=_python_escaped,
    ),
    "phi-4": Form(
        *_PHI,
        json_call(f"{_PHI[0]}[", f"]{_PHI[1]}"),
        turn=("<|assistant|>", "<|tool_response|>"),
        result=("<|tool_response|>", "<|end|>"),
        is_json=True,
    ),
    "harmony": Form(
        f"{_HARMONY} to=functions.",
        "<|call|>",
        _named(f"{_HARMONY} to=functions.", "<|channel|>commentary json<|message|>", "<|call|>", _json_arguments),
        thought=(f"{_HARMONY}<|channel|>analysis<|message|>", "<|end|>"),
        content_mark=f"{_HARMONY}<|channel|>final<|message|>",
        turn=(_HARMONY, "<|start|>functions."),
        result=("<|start|>functions.tool to=assistant<|channel|>commentary<|message|>", "<|end|>"),
        marks=("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|return|>"),
        unsaid=_HARMONY_UNSAID,
    ),
}
