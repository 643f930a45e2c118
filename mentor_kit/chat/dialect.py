"""How one chat template wants to be spoken to, and what it shows: found by rendering probes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mentor_kit.chat.tokenizer import ChatTokenizer
from mentor_kit.errors import ChatError
from mentor_kit.record import Json

#: Stands for what an assistant said in a rendered probe; survives trimming and JSON as it is.
SENTINEL = "mentorkit7sentinel"
#: What a probe's user says.
QUESTION: dict[str, Json] = {"role": "user", "content": "Question"}

_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True)
class Dialect:
    """What is peculiar to one template."""

    stop: str
    """The token that ends an assistant's turn."""
    call_stop: str
    """The token that ends a turn with tool calls; empty if the template doesn't show calls."""
    arguments_as_text: bool
    """Whether a call's arguments must be given as JSON text instead of an object."""
    reasoning_key: str
    """The key under which the template shows an assistant's reasoning; empty if it shows none."""
    shows_tools: bool
    """Whether tool schemas appear in the prompt."""


def find_dialect(tokenizer: ChatTokenizer) -> Dialect:
    """Probe a tokenizer's template.

    Raises:
        ChatError: the template does not end an assistant's turn with a special token.
    """
    stop = ended_by(tokenizer, [QUESTION, {"role": "assistant", "content": SENTINEL}])
    if not stop:
        raise ChatError(
            f"the chat template of {tokenizer.name!r} does not end an assistant's turn with a special token",
            hint="a model learns to stop from that token; give a template that writes one: "
            "`student: {chat_template: hermes}` or a file",
        )
    as_text = _arguments_as_text(tokenizer)
    call = None if as_text is None else assistant_form("", calls=[("probe", {"key": SENTINEL})], as_text=as_text)
    return Dialect(
        stop=stop,
        call_stop="" if call is None else ended_by(tokenizer, [QUESTION, call]),
        arguments_as_text=bool(as_text),
        reasoning_key=next((key for key in _REASONING_KEYS if _shows_reasoning(tokenizer, key)), ""),
        shows_tools=SENTINEL in _tried(tokenizer, [QUESTION], tools=[probe_tool(SENTINEL)]),
    )


def assistant_form(
    content: str,
    *,
    calls: Sequence[tuple[str, Mapping[str, Json]]] = (),
    as_text: bool = False,
    extra: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """An assistant message in OpenAI's form."""
    form: dict[str, Json] = {"role": "assistant", "content": content, **(extra or {})}
    if calls:
        form["tool_calls"] = [
            {
                "type": "function",
                "id": call_id(index),
                "function": {
                    "name": name,
                    "arguments": json.dumps(arguments, ensure_ascii=False) if as_text else dict(arguments),
                },
            }
            for index, (name, arguments) in enumerate(calls)
        ]
    return form


def call_id(index: int) -> str:
    """The id of a turn's call: nine letters and digits, which is the only form Mistral's templates take."""
    return f"c{index:08d}"


def probe_tool(name: str) -> dict[str, Json]:
    """A tool's schema that means nothing."""
    parameters = {"type": "object", "properties": {"key": {"type": "string", "description": "A key."}}}
    return {"type": "function", "function": {"name": name, "description": "A tool.", "parameters": parameters}}


def ended_by(tokenizer: ChatTokenizer, forms: Sequence[dict[str, Json]]) -> str:
    """The special token that ends the rendered messages, but for spaces; empty if there is none."""
    text = _tried(tokenizer, forms).rstrip()
    return max((token for token in tokenizer.special if token and text.endswith(token)), key=len, default="")


def _arguments_as_text(tokenizer: ChatTokenizer) -> bool | None:
    """Whether arguments go in as text; None if the template doesn't show calls in either form."""
    for as_text in (False, True):
        call = assistant_form("", calls=[("probe", {"key": SENTINEL})], as_text=as_text)
        text = _tried(tokenizer, [QUESTION, call])
        # a template that expects text writes an object as Python does, with single quotes
        if SENTINEL in text and "probe" in text and f"'{SENTINEL}'" not in text:
            return as_text
    return None


def _shows_reasoning(tokenizer: ChatTokenizer, key: str) -> bool:
    return SENTINEL in _tried(tokenizer, [QUESTION, assistant_form("Answer", extra={key: SENTINEL})])


def _tried(tokenizer: ChatTokenizer, forms: Sequence[dict[str, Json]], tools: Sequence[dict[str, Json]] = ()) -> str:
    """The rendered messages, or nothing if the template refuses them."""
    try:
        return tokenizer.render(forms, tools=tools, generation_prompt=False)
    except ChatError:
        return ""
