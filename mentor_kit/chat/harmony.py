"""Harmony, the form of gpt-oss: a turn is several messages, each in a channel.

    <|channel|>analysis<|message|>reasoning<|end|>
    <|start|>assistant<|channel|>final<|message|>answer, or
    <|start|>assistant to=functions.name<|channel|>commentary json<|message|>{…}

The prompt ends with `<|start|>assistant`; the turn ends with `<|return|>` or `<|call|>`, which the text no longer has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mentor_kit.chat.calls import CallError, call_of, malformed, read_json, skip_space, valid_unicode
from mentor_kit.chat.parsing import MAX_CALLS
from mentor_kit.conversation import Message, ToolCall, assistant

START, MESSAGE = "<|start|>assistant", "<|message|>"
_END = re.compile(r"<\|(?:end|call|return)\|>")
_CHANNEL = re.compile(r"<\|channel\|>\s*([a-z]{1,20})")
_RECIPIENT = re.compile(r"\bto=functions\.([A-Za-z0-9_.\-]{1,128})(?=[\s<]|$)")


@dataclass(frozen=True)
class HarmonyParser:
    """A `mentor_kit.chat.parsing.Parser`."""

    def parse(self, text: str) -> Message:
        text = valid_unicode(text)
        reasoning: list[str] = []
        content: list[str] = []
        calls: list[ToolCall] = []
        for part in text.removeprefix(START).split(START, MAX_CALLS):
            header, mark, body = part.partition(MESSAGE)
            body = _END.split(body, 1)[0]
            if not mark:
                # nobody was spoken to yet: a turn that was cut, or one that follows no form
                calls += [malformed(part, f"{MESSAGE} is missing")] if _RECIPIENT.search(header) else []
                content += [] if _CHANNEL.search(header) or _RECIPIENT.search(header) else [part]
            elif recipient := _RECIPIENT.search(header):
                calls.append(_call(recipient.group(1), body, part))
            else:
                channel = _CHANNEL.search(header)
                (reasoning if channel and channel.group(1) == "analysis" else content).append(body)
        return assistant(_joined(content), reasoning=_joined(reasoning), calls=calls)


def _call(name: str, body: str, raw: str) -> ToolCall:
    try:
        arguments, end = read_json(body, 0)
        if skip_space(body, end) != len(body):
            raise CallError("text follows the JSON")
    except CallError as error:
        return malformed(raw, str(error)).model_copy(update={"name": name})
    return call_of({"name": name, "arguments": arguments}, raw)


def _joined(parts: list[str]) -> str:
    return "\n".join(stripped for part in parts if (stripped := part.strip()))
