"""Probes a chat template by rendering: which messages it accepts, and what it shows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mentor_kit.chat.tokenizer import ChatTokenizer
from mentor_kit.core.errors import ChatError
from mentor_kit.core.frozen_model import Json

#: The assistant's content in a probe; trimming and JSON leave it as it is.
SENTINEL = "mentorkit7sentinel"
#: The user's message of a probe.
QUESTION: dict[str, Json] = {"role": "user", "content": "Question"}

_MORE: dict[str, Json] = {"role": "user", "content": "More"}
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True)
class TurnEnd:
    """How a rendered turn ends."""

    text: str
    """From the sentinel to the stop token, both included."""
    stop: str
    """The special token that ends the turn."""
    trailer: str
    """What the template writes after the stop token when no message follows."""
    borrowed: bool = False
    """Whether the stop token is the next message's first, and a finished turn is shown without it (GLM)."""


@dataclass(frozen=True)
class TemplateTraits:
    """The properties of a template."""

    plain: TurnEnd
    """The end of a turn without calls."""
    calling: TurnEnd | None
    """How a turn with one tool call ends; None if the template doesn't show calls."""
    arguments_as_text: bool
    """Whether a call's arguments must be given as JSON text instead of an object."""
    reasoning_key: str
    """The key under which the template shows an assistant's reasoning; empty if it shows none."""
    shows_tools: bool
    """Whether tool schemas appear in the prompt."""

    @property
    def stops(self) -> frozenset[str]:
        """The tokens that end a turn."""
        return frozenset(end.stop for end in (self.plain, self.calling) if end is not None)


def probe_template(tokenizer: ChatTokenizer) -> TemplateTraits:
    """Probe a tokenizer's template.

    Raises:
        ChatError: the template does not end an assistant's turn with a special token.
    """
    # some tokenizers (Gemma's) have line breaks among their added tokens, which end nothing
    tokens = [token for token in tokenizer.special if token.strip()]
    plain = turn_end(tokenizer, [QUESTION, assistant_form(SENTINEL)], [_MORE], tokens)
    if plain is None:
        raise ChatError(
            f"the chat template of {tokenizer.name!r} does not end an assistant's turn with a special token",
            hint="a model learns to stop from that token; give a template that writes one: "
            "`student: {chat_template: hermes}` or a file",
        )
    as_text = _arguments_as_text(tokenizer)
    return TemplateTraits(
        plain=plain,
        calling=None if as_text is None else calling_end(tokenizer, ["probe"], as_text, plain.stop),
        arguments_as_text=bool(as_text),
        reasoning_key=next((key for key in _REASONING_KEYS if _shows_reasoning(tokenizer, key)), ""),
        shows_tools=SENTINEL in _tried(tokenizer, [QUESTION], tools=[probe_tool(SENTINEL)]),
    )


def sentinel_turn(names: Sequence[str], as_text: bool) -> dict[str, Json]:
    """Return an assistant's turn with calls of these tools, or with the sentinel as content if there are none."""
    calls = [(name, {"key": SENTINEL}) for name in names]
    return assistant_form("" if calls else SENTINEL, calls=calls, as_text=as_text)


def calling_end(tokenizer: ChatTokenizer, names: Sequence[str], as_text: bool, stop: str) -> TurnEnd | None:
    """How a turn that calls these tools ends; None if the template doesn't show it up to a special token.

    Args:
        tokenizer: whose template it is.
        names: of the tools called.
        as_text: whether arguments are given as text.
        stop: the token that ends a plain turn; tags of calls, which may be single tokens too, end none.
    """
    results = [tool_form(name, index, "Result") for index, name in enumerate(names)]
    return turn_end(tokenizer, [QUESTION, sentinel_turn(names, as_text)], results, {*tokenizer.control, stop})


def turn_end(
    tokenizer: ChatTokenizer,
    forms: Sequence[dict[str, Json]],
    following: Sequence[dict[str, Json]],
    tokens: Iterable[str],
) -> TurnEnd | None:
    """How the turn that is the last of `forms` ends: with the last special token there, whatever follows.

    Args:
        tokenizer: whose template it is.
        forms: messages, of which the last is a turn with the sentinel.
        following: messages after it; some templates write an end of text (Phi-3) only where there are none.
        tokens: that may end a turn.
    """
    alone, followed = _tried(tokenizer, forms), _tried(tokenizer, [*forms, *following])
    start = alone.rfind(SENTINEL)
    if start < 0:
        return None
    tail = alone[start:]
    common = common_start(tail, followed[followed.rfind(SENTINEL) :]) if followed else tail
    for text in (common, tail):
        end, stop = max(((text.rfind(token) + len(token), token) for token in tokens if token in text), default=(0, ""))
        if stop:
            return TurnEnd(text=tail[:end], stop=stop, trailer=tail[end:])
    return _borrowed(tail, followed[followed.rfind(SENTINEL) :], tokens) if followed else None


def _borrowed(tail: str, followed: str, tokens: Iterable[str]) -> TurnEnd | None:
    """The end of a turn that nothing but the next message's beginning marks."""
    next_message = followed.removeprefix(tail)
    stop = max((token for token in tokens if next_message.startswith(token)), key=len, default="")
    if next_message == followed or not stop:
        return None
    return TurnEnd(text=tail + stop, stop=stop, trailer="", borrowed=True)


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
    """Return the schema of a tool for probes."""
    parameters = {"type": "object", "properties": {"key": {"type": "string", "description": "A key."}}}
    return {"type": "function", "function": {"name": name, "description": "A tool.", "parameters": parameters}}


def tool_form(name: str, index: int, content: str) -> dict[str, Json]:
    """The result of a turn's call in OpenAI's form."""
    return {"role": "tool", "name": name, "tool_call_id": call_id(index), "content": content}


def _arguments_as_text(tokenizer: ChatTokenizer) -> bool | None:
    """Whether arguments go in as text; None if the template doesn't show calls in either form."""
    for as_text in (False, True):
        call = assistant_form("", calls=[("probe", {"key": SENTINEL})], as_text=as_text)
        text = _tried(tokenizer, [QUESTION, call])
        # a template that expects text writes an object as Python does, with single quotes
        if SENTINEL in text and "probe" in text and f"{{'key': '{SENTINEL}'" not in text:
            return as_text
    return None


def _shows_reasoning(tokenizer: ChatTokenizer, key: str) -> bool:
    return SENTINEL in _tried(tokenizer, [QUESTION, assistant_form("Answer", extra={key: SENTINEL})])


def common_start(one: str, other: str) -> str:
    """What two texts begin with alike."""
    differ = (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return one[: next(differ, min(len(one), len(other)))]


def _tried(tokenizer: ChatTokenizer, forms: Sequence[dict[str, Json]], tools: Sequence[dict[str, Json]] = ()) -> str:
    """The rendered messages, or nothing if the template refuses them."""
    try:
        return tokenizer.render(forms, tools=tools, generation_prompt=False)
    except ChatError:
        return ""
