"""The Chat Completions API, as OpenAI and most other servers have it (vLLM, llama.cpp, Ollama, transformers serve)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mentor_kit.chat import Parser
from mentor_kit.chat.calls import call_of, malformed, valid_unicode
from mentor_kit.chat.parsing import parse
from mentor_kit.core.agent import Reply
from mentor_kit.core.conversation import Message, ToolCall, assistant
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import Tool
from mentor_kit_teachers.api_protocols import BadReply, Body, Counted, token_count
from mentor_kit_teachers.faults import as_fault
from mentor_kit_teachers.strict import NO_RESULT, arguments_for_server, as_json, id_for_server, name_for_server, plain

#: Keys of reasoning in servers' messages.
_REASONING = ("reasoning_content", "reasoning")
#: Finish reasons of a turn that the server cut.
_BROKEN_OFF = ("abort", "error")
_THINK, _END_THINK = "<think>", "</think>"


@dataclass(frozen=True)
class OpenAIChat:
    """A `mentor_kit_teachers.api_protocols.ApiProtocol`."""

    model: str
    url: str | None
    key: str
    parameters: Mapping[str, Json]
    """Further keys of the request."""
    parser: Parser | None = None
    """Parses calls and reasoning from the content, where the server leaves that to its clients."""

    def opening(self, tools: Mapping[str, Tool]) -> Body:
        body: Body = {"model": self.model, "messages": [], **self.parameters}
        return body | ({"tools": [tool.schema for tool in tools.values()]} if tools else {})

    def with_messages(self, body: Body, messages: Sequence[Message]) -> Body:
        entries: list[dict[str, Json]] = list(body["messages"])
        waiting = _ids(entries[-1:])
        for message in messages:
            if message.role == "tool":
                entries.append(self._result(message, waiting))
                continue
            entries += [_result_of(waiting.pop(0), NO_RESULT) for _ in range(len(waiting))]
            entries.append({"role": message.role, "content": message.content})
            if message.tool_calls:
                calls = [{"function": {"name": c.name, "arguments": c.arguments}} for c in message.tool_calls]
                entries[-1] |= {
                    "content": message.content or None,
                    "tool_calls": _calls(calls, entries, _offered(body)),
                }
                waiting = _ids(entries[-1:])
        return body | {"messages": entries}

    def _result(self, message: Message, waiting: list[str]) -> dict[str, Json]:
        if waiting:
            return _result_of(waiting.pop(0), message.content)
        # calls that were read out of the content have no ids; a server that leaves them there does not ask for them
        return _result_of("call00000", message.content) if self.parser else {"role": "user", "content": message.content}

    def with_reply(self, body: Body, reply: Body) -> Body:
        message = _message(reply)
        kept: Body = {"role": "assistant", "content": _content(message.get("content"))}
        kept |= {key: message[key] for key in _REASONING if message.get(key)}
        calls = _calls(_listed(message), body["messages"], _offered(body))
        if calls:
            kept["tool_calls"] = calls
        elif kept["content"] is None:
            kept["content"] = ""
        return body | {"messages": [*body["messages"], plain(kept)]}

    def read(self, reply: Body, tools: Mapping[str, Tool] | None = None) -> Reply:
        message = _message(reply)
        finish = reply["choices"][0].get("finish_reason")
        reply_message = self._words(message, tools)
        if finish in _BROKEN_OFF:
            raise BadReply(f"the turn was broken off: {finish}")
        if finish == "content_filter":
            return Reply(reply_message, finish="refused", reason="the server's content filter cut the turn")
        return Reply(reply_message, finish="length" if finish == "length" else "stop")

    def _words(self, message: dict[str, Json], tools: Mapping[str, Tool] | None) -> Message:
        content = _text(message.get("content")) or _text(message.get("refusal"))
        calls = _listed(message)
        if self.parser is not None and not calls:
            return parse(self.parser, content, tools)
        reasoning = next((text for key in _REASONING if (text := _text(message.get(key)))), "")
        if not reasoning and content.lstrip().startswith(_THINK) and _END_THINK in content:
            # the server leaves a model's tags to its clients
            reasoning, _, content = content.lstrip().removeprefix(_THINK).partition(_END_THINK)
        return assistant(content.strip(), reasoning=reasoning.strip(), calls=[_call(call) for call in calls])

    def counted(self, reply: Body) -> Counted | None:
        usage = reply.get("usage")
        if not isinstance(usage, dict):
            return None
        sent, received = token_count(usage.get("prompt_tokens")), token_count(usage.get("completion_tokens"))
        if sent is None or received is None:
            return None
        details = usage.get("prompt_tokens_details")
        cached = token_count(details.get("cached_tokens")) if isinstance(details, dict) else None
        return Counted(sent, received, min(cached or 0, sent))

    def url_hint(self) -> str:
        if self.url is None or "/v1" in self.url:
            return ""
        return f"most servers' API begins in /v1: try {self.url.rstrip('/')}/v1"

    def connect(self, timeout: float) -> OpenAIConnection:
        sdk = import_module("openai")
        return OpenAIConnection(
            sdk, sdk.AsyncOpenAI(api_key=str(self.key), base_url=self.url, timeout=timeout, max_retries=0)
        )


@dataclass(frozen=True)
class OpenAIConnection:
    """A `mentor_kit_teachers.api_protocols.ApiConnection` through the official package."""

    sdk: Any
    client: Any

    async def send(self, body: Body, key: str) -> str:
        rest = {name: value for name, value in body.items() if name not in ("model", "messages")}
        try:
            raw = await self.client.chat.completions.with_raw_response.create(
                model=body["model"],
                messages=body["messages"],
                extra_body=rest,
                extra_headers={"Idempotency-Key": key},
            )
            return str(raw.http_response.text)
        except Exception as error:  # noqa: BLE001 (what the package and the network throw is sorted there)
            raise as_fault(error, self.sdk) from None

    async def close(self) -> None:
        await self.client.close()


def _message(reply: Body) -> dict[str, Json]:
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise BadReply("it has no choices")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise BadReply("its choice has no message")
    return message


def _text(value: Json) -> str:
    """Return the string of a content or a reasoning, joined from its parts; other kinds of values are ignored."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
    return valid_unicode(value) if isinstance(value, str) else ""


def _content(value: Json) -> Json:
    """Return a content for the next request: a string, or parts unchanged; None for anything else."""
    if isinstance(value, list):
        kinds = [part.get("type") for part in value if isinstance(part, dict)]
        return value if value and len(kinds) == len(value) and all(isinstance(kind, str) for kind in kinds) else None
    return value if isinstance(value, str) else None


def _listed(message: Mapping[str, Json]) -> list[Json]:
    """The calls of a message; one alone counts as a list of one, the API's former `function_call` too."""
    former = message.get("function_call")
    calls = message.get("tool_calls") or ([{"function": former}] if former else [])
    return calls if isinstance(calls, list) else [calls]


def _call(call: Json) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        return malformed(as_json(call), "the name is missing")
    arguments = function.get("arguments") or "{}"
    raw = valid_unicode(arguments) if isinstance(arguments, str) else as_json(arguments)
    given = arguments if isinstance(arguments, str) else raw  # read as strictly as text is
    return call_of({"name": name, "arguments": given}, raw).model_copy(update={"name": valid_unicode(name)})


def _calls(calls: Sequence[Json], before: Sequence[Mapping[str, Json]], offered: Sequence[str]) -> list[Json]:
    """Return calls for the next request: unchanged, but with ids, names and arguments that a strict server accepts."""
    taken = set(_ids(before))
    kept: list[Json] = []
    for call in calls:
        whole = _object(call)
        given = id_for_server(whole.get("id"), taken)
        taken.add(given)
        kept.append({**whole, "type": "function", "id": given, "function": _function(whole.get("function"), offered)})
    return kept


def _function(value: Json, offered: Sequence[str]) -> dict[str, Json]:
    function = _object(value)
    written = function.get("arguments")
    arguments = arguments_for_server(written)
    as_it_came = isinstance(written, str) and bool(arguments)
    sent = written if as_it_came else as_json(arguments or {})
    return {**function, "name": name_for_server(function.get("name"), offered), "arguments": sent}


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _ids(messages: Sequence[Mapping[str, Json]]) -> list[str]:
    return [call["id"] for message in messages for call in message.get("tool_calls") or []]


def _result_of(call: str, content: str) -> dict[str, Json]:
    return {"role": "tool", "tool_call_id": call, "content": content}


def _offered(body: Body) -> list[str]:
    return [tool["function"]["name"] for tool in body.get("tools") or []]
