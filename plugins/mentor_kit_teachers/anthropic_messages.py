"""Anthropic's Messages API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mentor_kit.actor import Reply
from mentor_kit.chat.calls import call_of, valid_unicode
from mentor_kit.conversation import Message, ToolCall, assistant
from mentor_kit.record import Json
from mentor_kit.tool import Tool
from mentor_kit_teachers.wire import BadReply, Body, Counted, as_fault


@dataclass(frozen=True)
class AnthropicMessages:
    """A `mentor_kit_teachers.wire.Wire`."""

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

    def heard(self, body: Body, messages: Sequence[Message]) -> Body:
        words = "\n\n".join(message.content for message in messages if message.role == "system")
        last = body["messages"][-1]["content"] if body["messages"] else []
        ids = iter([block["id"] for block in last if isinstance(block, dict) and block.get("type") == "tool_use"])
        blocks = [_block(message, ids) for message in messages if message.role != "system"]
        said = [*body["messages"], {"role": "user", "content": blocks}]
        return body | {"messages": said} | ({"system": words} if words else {})

    def said(self, body: Body, reply: Body) -> Body:
        # reasoning goes back with its signature, as the API demands
        return body | {"messages": [*body["messages"], {"role": "assistant", "content": _content(reply)}]}

    def read(self, reply: Body, tools: Mapping[str, Tool] | None = None) -> Reply:
        blocks = _content(reply)
        words = [_text(block, "text") for block in blocks if block.get("type") == "text"]
        thoughts = [_text(block, "thinking") for block in blocks if block.get("type") == "thinking"]
        calls = [_call(block) for block in blocks if block.get("type") == "tool_use"]
        said = assistant("\n".join(words).strip(), reasoning="\n".join(thoughts).strip(), calls=calls)
        if reply.get("stop_reason") == "model_context_window_exceeded":
            return Reply(said, finish="length")
        return Reply(said, finish="length" if reply.get("stop_reason") == "max_tokens" else "stop")

    def counted(self, reply: Body) -> Counted | None:
        usage = reply.get("usage")
        if not isinstance(usage, dict) or not isinstance(usage.get("input_tokens"), int):
            return None
        cached = int(usage.get("cache_read_input_tokens") or 0)
        written = int(usage.get("cache_creation_input_tokens") or 0)
        return Counted(usage["input_tokens"] + cached + written, int(usage.get("output_tokens") or 0), cached)

    def connect(self, timeout: float) -> AnthropicConnection:
        sdk = import_module("anthropic")
        client = sdk.AsyncAnthropic(api_key=str(self.key), base_url=self.url, timeout=timeout, max_retries=0)
        return AnthropicConnection(sdk, client)


@dataclass(frozen=True)
class AnthropicConnection:
    """A `mentor_kit_teachers.wire.Connection` through the official package."""

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


def _block(message: Message, ids: Any) -> dict[str, Json]:
    if message.role != "tool":
        return {"type": "text", "text": message.content}
    ok = message.result is None or message.result.ok
    return {"type": "tool_result", "tool_use_id": next(ids), "content": message.content, "is_error": not ok}


def _content(reply: Body) -> list[dict[str, Json]]:
    blocks = reply.get("content")
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise BadReply("it has no content")
    return blocks


def _text(block: dict[str, Json], key: str) -> str:
    value = block.get(key)
    if not isinstance(value, str):
        raise BadReply(f"a {key} block without text")
    return valid_unicode(value)


def _call(block: dict[str, Json]) -> ToolCall:
    name, arguments = block.get("name"), block.get("input")
    if not isinstance(name, str) or not isinstance(block.get("id"), str):
        raise BadReply("a tool call without name and id")
    raw = valid_unicode(json.dumps(arguments, ensure_ascii=False))
    return call_of({"name": name, "arguments": arguments}, raw).model_copy(update={"name": valid_unicode(name)})
