"""Small servers with the two public APIs, and a proxy that does what networks do.

Requests are checked against the official packages' own types of parameters, and answers are built from their own types
of responses, so that neither follows what the teachers' code believes of them. Tokens are counted by words; a request
with an Idempotency-Key that was answered before gets the same answer and is not counted again.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from doubling import next_step
from pydantic import TypeAdapter
from strict_histories import check_anthropic, check_openai

KEY = "sk-very-secret-0123456789"

#: (question, results, how often this very dialogue was asked before) -> what to say, and a call's arguments
Script = Callable[[str, list[str], int], tuple[str, dict[str, int] | None]]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        # clients that were killed, or that gave up, leave broken pipes
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class ChatServer(_Server):
    """Counts what it is asked and what it answered."""

    def __init__(self, script: Script | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _ChatHandler)
        self.script = script or (lambda question, results, times: next_step(question, results))
        self.bodies: list[dict[str, Any]] = []
        self.dialogues: list[str] = []
        self.asked: list[str] = []
        self.answered: dict[str, bytes] = {}
        self.tokens = [0, 0]
        self.numbered = True
        """Whether results must name the calls they belong to."""
        self.delay = 0.0
        self.busy = 0
        self.busiest = 0
        self.fixed: tuple[int, dict[str, str], Any] | None = None
        self.odd: Callable[[dict[str, Any]], tuple[int, bytes] | None] = lambda body: None
        """Status and content of a response in place of the right one."""
        self.shape: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, path: str, body: dict[str, Any], key: str) -> bytes:
        with self.lock:
            if key in self.answered:
                return self.answered[key]
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
            times = self.dialogues.count(json.dumps(body["messages"]))
            self.dialogues.append(json.dumps(body["messages"]))
        time.sleep(self.delay)
        made = _openai(self, body, times) if path.endswith("completions") else _anthropic(self.script, body)
        with self.lock:
            self.busy -= 1
            usage = made["usage"]
            sent = usage.get("prompt_tokens", usage.get("input_tokens"))
            self.tokens[0] += sent
            self.tokens[1] += usage.get("completion_tokens", usage.get("output_tokens"))
            self.answered[key] = json.dumps(self.shape(made)).encode()
            return self.answered[key]


def _openai(server: ChatServer, body: dict[str, Any], times: int) -> dict[str, Any]:
    from openai.types.chat import ChatCompletion
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

    list(_adapter(CompletionCreateParamsNonStreaming).validate_python(body, strict=False)["messages"])
    messages = body["messages"]
    check_openai(messages, numbered=server.numbered)
    calls = [call["id"] for message in messages for call in message.get("tool_calls") or []]
    results = [message for message in messages if message["role"] == "tool"]
    assert not server.numbered or [result["tool_call_id"] for result in results] == calls
    question = next(message["content"] for message in messages if message["role"] == "user")
    words, arguments = server.script(question, [result["content"] for result in results], times)
    message: dict[str, Any] = {"role": "assistant", "content": words, "reasoning_content": "Let me think."}
    if arguments is not None:
        assert [tool["function"]["name"] for tool in body["tools"]] == ["double"]
        function = {"name": "double", "arguments": json.dumps(arguments)}
        message["tool_calls"] = [{"id": f"call-{len(calls)}", "type": "function", "function": function}]
    sent, received = _words(messages), _words(message)
    made = ChatCompletion.model_validate(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "tool_calls" if arguments else "stop", "message": message}],
            "usage": {"prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received},
        }
    )
    return made.model_dump(mode="json", exclude_none=True)


def _anthropic(script: Script, body: dict[str, Any]) -> dict[str, Any]:
    from anthropic.types import Message
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

    _adapter(MessageCreateParamsNonStreaming).validate_python(body)
    assert body["system"] == "Be exact."
    assert [message["role"] for message in body["messages"]] == ["user", "assistant"] * (len(body["messages"]) // 2) + [
        "user"
    ]
    check_anthropic(body["messages"])
    blocks = [block for message in body["messages"] for block in message["content"]]
    calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    results = [block for block in blocks if block["type"] == "tool_result"]
    assert [result["tool_use_id"] for result in results] == calls
    # the API wants reasoning back with its signature
    turns = [message for message in body["messages"] if message["role"] == "assistant"]
    assert [block["signature"] for block in blocks if block["type"] == "thinking"] == ["signed"] * len(turns)
    question = next(block["text"] for block in blocks if block["type"] == "text")
    words, arguments = script(question, [result["content"] for result in results], 0)
    content: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "Let me think.", "signature": "signed"},
        {"type": "text", "text": words},
    ]
    if arguments is not None:
        assert body["tools"][0]["input_schema"]["type"] == "object"
        content.append({"type": "tool_use", "id": f"toolu_{len(calls)}", "name": "double", "input": arguments})
    made = Message.model_validate(
        {
            "id": "msg",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": content,
            "stop_reason": "tool_use" if arguments else "end_turn",
            "usage": {
                "input_tokens": len(json.dumps(blocks).split()),
                "output_tokens": len(json.dumps(content).split()),
            },
        }
    )
    return made.model_dump(mode="json", exclude_none=True)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Checks of a package's own type; they take longer to make than to use."""
    return TypeAdapter(kind)


def _words(content: Any) -> int:
    return len(json.dumps(content).split())


class _ChatHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        if server.fixed is not None:
            status, headers, content = server.fixed
            return _respond(self, status, json.dumps(content).encode(), headers)
        if self.headers.get("Authorization", self.headers.get("x-api-key", "")).removeprefix("Bearer ") != KEY:
            return _respond(self, 401, b'{"error": {"message": "bad key"}}')
        with server.lock:
            server.bodies.append(body)
            server.asked.append(self.headers["Idempotency-Key"])
        if (odd := server.odd(body)) is not None:
            return _respond(self, *odd)
        try:
            content = server.answer(self.path, body, self.headers["Idempotency-Key"])
        except Exception as error:  # noqa: BLE001
            # a broken request must fail the test, not be tried again
            return _respond(self, 400, json.dumps({"error": {"message": f"{type(error).__name__}: {error}"}}).encode())
        return _respond(self, 200, content)

    def log_message(self, *_: object) -> None:
        pass


class FaultyProxy(_Server):
    """Stands before a server; each request takes the next fault of the list, then all go through.

    Faults: ok, reset, 429, 500, half, garbage, empty, slow, lost (answered, and the answer never comes).
    """

    def __init__(self, upstream: ChatServer, faults: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.upstream = upstream
        self.faults = iter(faults)
        self.seen: list[tuple[str, float]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self) -> str:
        with self.lock:
            fault = next(self.faults, "ok")
            self.seen.append((fault, time.monotonic()))
            return fault


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fault = self.server.next_fault()
        key = self.headers["Authorization"] or self.headers["x-api-key"]
        if fault == "reset":
            self.close_connection = True
            return None
        if fault == "429":
            # servers echo what they are told; this one even the key
            content = json.dumps({"error": {"message": f"slow down, {key}"}}).encode()
            return _respond(self, 429, content, {"Retry-After": "0.2"})
        if fault == "500":
            return _respond(self, 500, f"<html>{key}</html>".encode())
        if fault == "garbage":
            return _respond(self, 200, b'{"choices": [{"mess' + key.encode())
        if fault == "empty":
            return _respond(self, 200, b'{"choices": []}')
        content = self._forward(body)
        if fault in ("half", "lost", "slow"):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self._drip(content, fault)
            self.close_connection = True
            return None
        return _respond(self, 200, content)

    def _drip(self, content: bytes, fault: str) -> None:
        if fault == "half":
            self.wfile.write(content[: len(content) // 2])
        for byte in content[:100] if fault == "slow" else b"":
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return
            time.sleep(0.05)

    def _forward(self, body: bytes) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream.server_address[1])
        kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        connection.request("POST", self.path, body, kept)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        assert response.status == 200, content
        return content

    def log_message(self, *_: object) -> None:
        pass


def _respond(
    handler: BaseHTTPRequestHandler, status: int, content: bytes, headers: dict[str, str] | None = None
) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


@contextmanager
def serving(*servers: ThreadingHTTPServer) -> Iterator[None]:
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
