"""The Chat Completions API, as OpenAI and most other servers have it (vLLM, llama.cpp, Ollama, transformers serve)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import chain, count
from typing import Any

from mentor_kit.actor import Reply
from mentor_kit.chat import Parser
from mentor_kit.chat.calls import call_of, valid_unicode
from mentor_kit.chat.parsing import parse
from mentor_kit.conversation import Message, ToolCall, assistant
from mentor_kit.record import Json
from mentor_kit.tool import Tool
from mentor_kit_teachers.wire import BadReply, Body, Counted, as_fault

#: Under which keys servers put reasoning.
_REASONING = ("reasoning_content", "reasoning")
_THINK, _END_THINK = "<think>", "</think>"


@dataclass(frozen=True)
class OpenAIChat:
    """A `mentor_kit_teachers.wire.Wire`."""

    model: str
    url: str | None
    key: str
    parameters: Mapping[str, Json]
    """Further keys of the request."""
    parser: Parser | None = None
    """Reads calls and reasoning out of the content, where the server leaves that to its clients."""

    def opening(self, tools: Mapping[str, Tool]) -> Body:
        body: Body = {"model": self.model, "messages": [], **self.parameters}
        return body | ({"tools": [tool.schema for tool in tools.values()]} if tools else {})

    def heard(self, body: Body, messages: Sequence[Message]) -> Body:
        last = body["messages"][-1] if body["messages"] else {}
        ids = [call["id"] for call in last.get("tool_calls") or []]
        # calls that were read out of the content have no ids; a server that gives none does not ask for them
        names = chain(ids, (f"call_{index}" for index in count(len(ids))))
        said = [
            {"role": "tool", "tool_call_id": next(names), "content": message.content}
            if message.role == "tool"
            else {"role": message.role, "content": message.content}
            for message in messages
        ]
        return body | {"messages": [*body["messages"], *said]}

    def said(self, body: Body, reply: Body) -> Body:
        message = _message(reply)
        kept: Body = {"role": "assistant", "content": message.get("content")}
        kept |= {key: message[key] for key in (*_REASONING, "tool_calls") if message.get(key)}
        if "tool_calls" in kept:
            kept["tool_calls"] = [_with_id(call, index) for index, call in enumerate(kept["tool_calls"])]
        return body | {"messages": [*body["messages"], kept]}

    def read(self, reply: Body, tools: Mapping[str, Tool] | None = None) -> Reply:
        message = _message(reply)
        finish = reply["choices"][0].get("finish_reason")
        said = self._words(message, tools)
        return Reply(said, finish="length" if finish == "length" else "stop")

    def _words(self, message: dict[str, Json], tools: Mapping[str, Tool] | None) -> Message:
        content = _text(message.get("content"))
        if self.parser is not None and not message.get("tool_calls"):
            return parse(self.parser, content, tools)
        reasoning = next((_text(message[key]) for key in _REASONING if message.get(key)), "")
        if not reasoning and content.lstrip().startswith(_THINK) and _END_THINK in content:
            # a server that leaves a model's tags to its clients
            reasoning, _, content = content.lstrip().removeprefix(_THINK).partition(_END_THINK)
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise BadReply("tool_calls is no list")
        return assistant(content.strip(), reasoning=reasoning.strip(), calls=[_call(call) for call in calls])

    def counted(self, reply: Body) -> Counted | None:
        usage = reply.get("usage")
        if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
            return None
        details = usage.get("prompt_tokens_details") or {}
        return Counted(
            sent=usage["prompt_tokens"],
            received=int(usage.get("completion_tokens") or 0),
            cached=int(details.get("cached_tokens") or 0),
        )

    def connect(self, timeout: float) -> OpenAIConnection:
        sdk = import_module("openai")
        return OpenAIConnection(
            sdk, sdk.AsyncOpenAI(api_key=str(self.key), base_url=self.url, timeout=timeout, max_retries=0)
        )


@dataclass(frozen=True)
class OpenAIConnection:
    """A `mentor_kit_teachers.wire.Connection` through the official package."""

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
    if value is None:
        return ""
    if isinstance(value, list):
        # content in parts; others than text carry nothing for us
        return "".join(str(part.get("text", "")) for part in value if isinstance(part, dict))
    if not isinstance(value, str):
        raise BadReply(f"{type(value).__name__} where text belongs")
    return valid_unicode(value)


def _call(call: Json) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadReply("a tool call without a function's name")
    arguments = function.get("arguments") or "{}"
    raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return call_of({"name": function["name"], "arguments": arguments}, valid_unicode(raw)).model_copy(
        update={"name": valid_unicode(function["name"])}
    )


def _with_id(call: dict[str, Json], index: int) -> dict[str, Json]:
    return {"type": "function", **call, "id": call.get("id") or f"call_{index}"}
