"""The inside of a worker process: loads a program, then answers one request after the other.

Started as `python -m mentor_kit_tools.worker REQUESTS REPLIES`, with the numbers of two pipes. A frame is
eight bytes of length and then JSON. The first request loads the program; every later one is a call:

    {"id": 0, "program": "package.module:function", "setup": {…}, "limits": {…}}  ->  {"id": 0, "value": catalogue}
    {"id": 1, "name": "add", "arguments": {"a": 1}}   ->  {"id": 1, "value": 3}
                                                      or  {"id": 1, "error": "division by zero", "memory": false}

A tool may never return: the process that started the worker enforces the time limit.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any, Protocol

from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import ToolError
from mentor_kit_tools.process_limits import limit_cpu, limit_process

LENGTH_BYTES = 8
_OUT_OF_MEMORY = "the tool ran out of memory"
#: Largest message about a failed call, in characters.
_LONGEST_REASON = 2000


class Program(Protocol):
    """A program that runs in a worker; made by a function `(setup) -> Program` that the first request names."""

    @property
    def catalogue(self) -> Json:
        """The catalogue that is sent once the program is loaded, such as the tools' schemas."""
        ...

    def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        """The value of a call; whatever it raises is a failed call. May be awaitable."""
        ...


def main(requests: int, replies: int) -> None:
    """Serve until the other side closes."""
    own = os.getpid()
    _die_with(os.getppid())
    program: Program | None = None
    cpu_seconds = 0
    while (frame := _read(requests)) is not None:
        request = json.loads(frame)
        try:
            if program is None:
                limits = request["limits"]
                limit_process(limits)
                cpu_seconds = int(limits["cpu_seconds"])
                program = _load(request["program"], request["setup"])
                reply = _reply(request["id"], program.catalogue, limit=0)
            else:
                limit_cpu(cpu_seconds)
                value = _value(program, request["name"], request["arguments"])
                reply = _reply(request["id"], value, limit=int(request["output_bytes"]))
        except MemoryError:
            reply = _failure(request["id"], _OUT_OF_MEMORY, memory=True)
        except BaseException as error:  # noqa: BLE001 (a tool may raise anything, even SystemExit: its call failed)
            reply = _failure(request["id"], _reason(error))
        if os.getpid() != own:
            os._exit(0)  # a child that the tool forked, and that came back into this loop
        _flush()
        _write(replies, reply)


def _value(program: Program, name: str, arguments: Mapping[str, Json]) -> Any:
    value = program.call(name, arguments)
    return asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value


async def _awaited(value: Any) -> Any:
    return await value


def _load(name: str, setup: Json) -> Program:
    module, _, function = name.partition(":")
    program: Program = getattr(importlib.import_module(module), function)(setup)
    return program


def _reply(number: int, value: Any, *, limit: int) -> bytes:
    """The frame for a value; raises `ToolError` if it is larger than `limit` bytes (0 for no limit)."""
    from pydantic_core import to_jsonable_python

    text = json.dumps({"id": number, "value": to_jsonable_python(value, fallback=str)}).encode()
    if limit and len(text) > limit:
        raise ToolError(f"the result is larger than {limit >> 10} KiB")
    return text


def _failure(number: int, reason: str, *, memory: bool = False) -> bytes:
    return json.dumps({"id": number, "error": _shortened(reason), "memory": memory}).encode()


def _shortened(reason: str) -> str:
    """Cut in its middle: what a tool printed before it failed comes first, why it failed comes last."""
    if len(reason) <= _LONGEST_REASON:
        return reason
    half = _LONGEST_REASON // 2
    return f"{reason[:half]}\n… [cut: {len(reason)} characters]\n{reason[-half:]}"


def _reason(error: BaseException) -> str:
    if isinstance(error, ToolError) and str(error).strip():
        return str(error)
    if isinstance(error, MentorKitError):
        return error.message if error.hint is None else f"{error.message}; {error.hint}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _die_with(parent: int) -> None:
    """End this process, and what it started, when its parent has ended: a tool may hang just then."""

    def watch() -> None:
        pause = threading.Event()
        while os.getppid() == parent:
            pause.wait(1.0)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="watch").start()


def _flush() -> None:
    """What the tool printed goes out before the reply, so that it is counted to its call."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # the tool closed it, or put something else in its place


def _read(pipe: int) -> bytes | None:
    """The next frame; None when the other side is gone."""
    length = _exactly(pipe, LENGTH_BYTES)
    return None if length is None else _exactly(pipe, int.from_bytes(length, "big"))


def _exactly(pipe: int, count: int) -> bytes | None:
    chunks = []
    while count:
        chunk = os.read(pipe, min(count, 1 << 20))
        if not chunk:
            return None
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def _write(pipe: int, frame: bytes) -> None:
    rest = memoryview(len(frame).to_bytes(LENGTH_BYTES, "big") + frame)
    while rest:
        rest = rest[os.write(pipe, rest) :]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
