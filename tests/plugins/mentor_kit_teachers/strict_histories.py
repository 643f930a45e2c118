"""What the strictest servers ask of a dialogue's history, written from their error messages and documentation."""

from __future__ import annotations

import json
import re
from typing import Any

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_openai(messages: list[dict[str, Any]], *, numbered: bool = True) -> None:
    """vLLM loads arguments as JSON objects, OpenAI wants a result for every call and a call for every result."""
    json.dumps(messages, ensure_ascii=False).encode()
    ids: list[str] = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert isinstance(message["content"], str)
            assert not numbered or message["tool_call_id"] in waiting
            waiting = [call for call in waiting if call != message["tool_call_id"]]
            continue
        assert not waiting, "a call has no result"
        calls = message.get("tool_calls")
        assert calls is None or (message["role"] == "assistant" and len(calls) > 0)
        assert calls or isinstance(message["content"], str | list), "neither words nor calls"
        assert message.get("content") is None or isinstance(message["content"], str | list)
        for call in calls or []:
            assert call["type"] == "function"
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
            assert NAME.fullmatch(call["function"]["name"])
            assert isinstance(call["id"], str)
            assert call["id"].strip()
            ids.append(call["id"])
            waiting.append(call["id"])
    assert not waiting, "a call has no result"
    assert len(set(ids)) == len(ids)


def check_anthropic(messages: list[dict[str, Any]]) -> None:
    """Roles take turns, no text is empty, results stand first and right after their calls."""
    json.dumps(messages, ensure_ascii=False).encode()
    ids: list[str] = []
    waiting: list[str] = []
    for index, message in enumerate(messages):
        assert message["role"] == ("user", "assistant")[index % 2]
        assert message["content"], "a message without content"
        results = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        assert results == waiting
        assert [block["type"] for block in message["content"][: len(results)]] == ["tool_result"] * len(results)
        for block in message["content"]:
            assert block["type"] != "text" or block["text"].strip()
        calls = [block for block in message["content"] if block["type"] == "tool_use"]
        assert not calls or message["role"] == "assistant"
        assert all(isinstance(call["input"], dict) and NAME.fullmatch(call["name"]) for call in calls)
        waiting = [call["id"] for call in calls]
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", call) for call in waiting)
        ids += waiting
    assert len(set(ids)) == len(ids)
