"""Anthropic's Messages API."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mentor_kit.chat.calls import call_of, malformed, valid_unicode
from mentor_kit.core.agent import Reply
from mentor_kit.core.conversation import Message, ToolCall, assistant
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import Tool
from mentor_kit_teachers.api_protocols import BadReply, Body, Counted, token_count
from mentor_kit_teachers.faults import as_fault
from mentor_kit_teachers.strict import (
    EMPTY,
    NO_RESULT,
    arguments_for_server,
    as_json,
    id_for_server,
    name_for_server,
    plain,
)

#: The API's pattern for a call's id.
_ID = re.compile(r"[a-zA-Z0-9_-]+")


@dataclass(frozen=True)
class AnthropicMessages:
    """A `mentor_kit_teachers.api_protocols.ApiProtocol`."""

    model: str
    url: str | None
    key: str
    parameters: Mapping[str, Json]
    """Further keys of the request, `max_tokens` among them."""

    def opening(self, tools: Mapping[str, Tool]) -> Body:
        body: Body = {"model": self.model, "messages": [], **self.parameters}
        offered = [
            {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}
            for tool in tools.values()
        ]
        return body | ({"tools": offered} if offered else {})

    def with_messages(self, body: Body, messages: Sequence[Message]) -> Body:
        words = "\n\n".join(message.content for message in messages if message.role == "system")
        entries: list[dict[str, Json]] = list(body["messages"])
        waiting = _ids(entries[-1:])
        for message in messages:
            if message.role == "system":
                continue
            if message.role != "tool":
                _add(entries, "user", [_result(waiting.pop(0), NO_RESULT, ok=False) for _ in range(len(waiting))])
            if message.role == "assistant":
                _add(entries, "assistant", _history_blocks(message, entries, _offered(body)))
                waiting = _ids(entries[-1:])
            elif message.role == "tool" and waiting:
                ok = message.result is None or message.result.ok
                _add(entries, "user", [_result(waiting.pop(0), message.content, ok=ok)])
            else:
                _add(entries, "user", _words(message.content))
        return body | {"messages": entries} | ({"system": words} if words else {})

    def with_reply(self, body: Body, reply: Body) -> Body:
        # reasoning goes back with its signature, as the API demands
        blocks = _strict(_content(reply), body["messages"], _offered(body))
        return body | {"messages": [*body["messages"], plain({"role": "assistant", "content": blocks or _words("")})]}

    def read(self, reply: Body, tools: Mapping[str, Tool] | None = None) -> Reply:
        blocks = _content(reply)
        words = [_text(block, "text") for block in blocks if block.get("type") == "text"]
        thoughts = [_text(block, "thinking") for block in blocks if block.get("type") == "thinking"]
        calls = [_call(block) for block in blocks if block.get("type") == "tool_use"]
        reply_message = assistant("\n".join(words).strip(), reasoning="\n".join(thoughts).strip(), calls=calls)
        stopped = reply.get("stop_reason")
        if stopped == "refusal":
            return Reply(reply_message, finish="refused", reason="the model refused to go on (stop_reason: refusal)")
        return Reply(
            reply_message, finish="length" if stopped in ("max_tokens", "model_context_window_exceeded") else "stop"
        )

    def counted(self, reply: Body) -> Counted | None:
        usage = reply.get("usage")
        if not isinstance(usage, dict):
            return None
        sent, received = token_count(usage.get("input_tokens")), token_count(usage.get("output_tokens"))
        if sent is None or received is None:
            return None
        cached = token_count(usage.get("cache_read_input_tokens")) or 0
        written = token_count(usage.get("cache_creation_input_tokens")) or 0
        return Counted(sent + cached + written, received, cached)

    def url_hint(self) -> str:
        bare = (self.url or "").rstrip("/").removesuffix("/messages").removesuffix("/v1")
        return "" if not self.url or bare == self.url.rstrip("/") else f"/v1/messages is added to it: try {bare}"

    def connect(self, timeout: float) -> AnthropicConnection:
        sdk = import_module("anthropic")
        client = sdk.AsyncAnthropic(api_key=str(self.key), base_url=self.url, timeout=timeout, max_retries=0)
        return AnthropicConnection(sdk, client)


@dataclass(frozen=True)
class AnthropicConnection:
    """A `mentor_kit_teachers.api_protocols.ApiConnection` through the official package."""

    sdk: Any
    client: Any

    async def send(self, body: Body, key: str) -> str:
        rest = {name: value for name, value in body.items() if name not in ("model", "messages", "max_tokens")}
        try:
            raw = await self.client.messages.with_raw_response.create(
                model=body["model"],
                messages=body["messages"],
                max_tokens=body["max_tokens"],
                extra_body=rest,
                extra_headers={"Idempotency-Key": key},
            )
            return str(raw.http_response.text)
        except Exception as error:  # noqa: BLE001 (what the package and the network throw is sorted there)
            raise as_fault(error, self.sdk) from None

    async def close(self) -> None:
        await self.client.close()


def _add(entries: list[dict[str, Json]], role: str, blocks: list[dict[str, Json]]) -> None:
    """Append blocks to a dialogue whose roles alternate."""
    if not blocks:
        return
    if not entries and role == "assistant":
        _add(entries, "user", _words(""))  # the user begins
    if entries and entries[-1]["role"] == role:
        entries[-1] = {**entries[-1], "content": [*entries[-1]["content"], *blocks]}
    else:
        entries.append({"role": role, "content": blocks})


def _result(call: str, content: str, *, ok: bool) -> dict[str, Json]:
    return {"type": "tool_result", "tool_use_id": call, "content": content, "is_error": not ok}


def _words(content: str) -> list[dict[str, Json]]:
    return [{"type": "text", "text": content if content.strip() else EMPTY}]


def _history_blocks(
    message: Message, before: Sequence[Mapping[str, Json]], offered: Sequence[str]
) -> list[dict[str, Json]]:
    """Return the blocks of a turn in a given history."""
    calls = [{"type": "tool_use", "name": call.name, "input": call.arguments} for call in message.tool_calls]
    words = _words(message.content) if message.content.strip() or not calls else []
    return _strict([*words, *calls], before, offered)


def _strict(
    blocks: Sequence[dict[str, Json]], before: Sequence[Mapping[str, Json]], offered: Sequence[str]
) -> list[dict[str, Json]]:
    """Return blocks for the next request, without empty strings, and with calls that a strict server accepts."""
    taken = set(_ids(before))
    kept = []
    for block in blocks:
        if block.get("type") == "text" and not _text(block, "text").strip():
            continue
        if block.get("type") == "tool_use":
            block = {
                **block,
                "id": id_for_server(block.get("id"), taken, _ID),
                "name": name_for_server(block.get("name"), offered),
                "input": arguments_for_server(block.get("input")) or {},
            }
            taken.add(block["id"])
        kept.append(block)
    return kept


def _ids(messages: Sequence[Mapping[str, Json]]) -> list[str]:
    blocks = [block for message in messages for block in message["content"]]
    return [block["id"] for block in blocks if block.get("type") == "tool_use"]


def _offered(body: Body) -> list[str]:
    return [tool["name"] for tool in body.get("tools") or []]


def _content(reply: Body) -> list[dict[str, Json]]:
    blocks = reply.get("content")
    if isinstance(blocks, str):
        return [{"type": "text", "text": blocks}]
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise BadReply("it has no content")
    return blocks


def _text(block: Mapping[str, Json], key: str) -> str:
    value = block.get(key)
    return valid_unicode(value) if isinstance(value, str) else ""


def _call(block: Mapping[str, Json]) -> ToolCall:
    name, arguments = block.get("name"), block.get("input")
    raw = as_json(arguments)
    if not isinstance(name, str) or not name:
        return malformed(as_json(block), "the name is missing")
    given = "{}" if arguments is None else arguments if isinstance(arguments, str) else raw
    return call_of({"name": name, "arguments": given}, raw).model_copy(update={"name": valid_unicode(name)})
