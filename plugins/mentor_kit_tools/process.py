"""One worker process from outside: requests over pipes, a time limit, and its end."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import ToolError
from mentor_kit_tools.limits import Limits
from mentor_kit_tools.process_limits import OUT_OF_MEMORY
from mentor_kit_tools.worker import LENGTH_BYTES

#: Seconds between checks of a running call: whether it was cancelled, and whether its process lives.
_GLANCE_SECONDS = 0.05
#: Characters of a process's last output that are kept for messages.
_LAST_WORDS = 300
#: Bytes of a reply beside its value; and of a catalogue, which is no call's result.
_SLACK = 1 << 16
_LARGEST_CATALOGUE = 64 << 20


@dataclass(frozen=True)
class Load:
    """The program of a worker."""

    program: str
    """`package.module:function`, a function `(setup) -> Program`; see `mentor_kit_tools.worker`."""
    setup: Json
    """What the function gets; JSON."""
    folder: Path
    """The process's working folder."""
    limits: Limits = field(default_factory=Limits)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables beside PATH, HOME, LANG and those that Python itself reads; it has no other variable of ours."""


@dataclass(frozen=True)
class WorkerAnswer:
    """The result of a call."""

    value: Json
    printed: str
    """What the tool wrote to standard output."""


class WorkerProcess:
    """A process that has loaded its program. Not for several threads at once.

    Raises:
        ToolError: the program cannot be loaded within the limits; the message says why.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._calls = 0
        requests, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        try:
            self._process = subprocess.Popen(
                # -P: no module is taken from the working folder by accident
                [sys.executable, "-P", "-m", "mentor_kit_tools.worker", str(requests), str(replies)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(requests, replies),
                cwd=load.folder,
                env=_environment(load.environment),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._requests)
            os.close(self._replies)
            raise
        finally:
            os.close(requests)
            os.close(replies)
        self._pipes_are_open = True
        for pipe in (self._requests, self._replies, self._output.fileno(), self._errors.fileno()):
            os.set_blocking(pipe, False)
        first = {"program": load.program, "setup": load.setup, "limits": load.limits.model_dump()}
        try:
            answer = self._ask(first, load.limits.start_seconds, threading.Event(), most=_LARGEST_CATALOGUE)
        except ToolError:
            self.close()
            raise
        self.catalogue: Json = answer.value

    @property
    def alive(self) -> bool:
        """Whether it takes further calls; a call that passed a limit has ended it."""
        return self._process.returncode is None and self._process.poll() is None

    def call(self, name: str, arguments: Mapping[str, Json], cancelled: threading.Event) -> WorkerAnswer:
        """The value of a call; it ends early when `cancelled` is set.

        Raises:
            ToolError: the call failed; the message is for the model to read.
        """
        limits = self._load.limits
        request = {"name": name, "arguments": dict(arguments), "output_bytes": limits.output_bytes}
        return self._ask(request, limits.seconds, cancelled, most=limits.output_bytes + _SLACK)

    def close(self) -> None:
        """Kill the process and everything it started. May be called twice."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        if self._pipes_are_open:
            self._pipes_are_open = False
            os.close(self._requests)
            os.close(self._replies)
            self._output.close()
            self._errors.close()

    @property
    def _output(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdout)

    @property
    def _errors(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stderr)

    def _ask(self, request: dict[str, Json], seconds: float, cancelled: threading.Event, *, most: int) -> WorkerAnswer:
        request = {"id": self._calls, **request}
        self._calls += 1
        try:
            exchange = _Exchange(self, json.dumps(request).encode(), self._load.limits.output_bytes, most)
            reply = exchange.run(time.monotonic() + seconds, seconds, cancelled)
            if reply.get("id") != request["id"]:
                raise ToolError("the tool's process answered something else than it was asked")
        except BaseException:
            self.close()
            raise
        if "error" in reply:
            if reply.get("memory"):
                self.close()  # what filled the memory may still be there
                raise ToolError(f"{reply['error']} (more than {self._load.limits.memory_mb} MiB)")
            raise ToolError(str(reply["error"]))
        return WorkerAnswer(reply.get("value"), exchange.printed.decode("utf-8", "replace"))

    def ended(self) -> str:
        """How the process ended, in words for the model."""
        try:
            code = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return "the tool's process closed its connection"
        if code == OUT_OF_MEMORY:
            return f"the tool ran out of memory (more than {self._load.limits.memory_mb} MiB)"
        if code == -signal.SIGXCPU:
            return f"the tool used more than {self._load.limits.cpu_seconds} s of processor time"
        if code < 0:
            return f"the tool crashed ({_signal_name(-code)})"
        return f"the tool ended its process (exit code {code})"


class _Exchange:
    """One request and its reply, over the pipes of a worker; counts what the worker prints meanwhile."""

    def __init__(self, worker: WorkerProcess, request: bytes, output_bytes: int, most: int) -> None:
        self._worker = worker
        self._limit = output_bytes
        self._most = most
        self._request = memoryview(len(request).to_bytes(LENGTH_BYTES, "big") + request)
        self._reply = bytearray()
        self._complaints = bytearray()
        self.printed = bytearray()

    def run(self, deadline: float, seconds: float, cancelled: threading.Event) -> dict[str, Json]:
        """The reply.

        Raises:
            ToolError: there is none; the worker cannot be used any more.
        """
        worker = self._worker
        with selectors.DefaultSelector() as selector:
            selector.register(worker._requests, selectors.EVENT_WRITE, self._write)
            selector.register(worker._replies, selectors.EVENT_READ, self._read_reply)
            selector.register(worker._output, selectors.EVENT_READ, self._read_output)
            selector.register(worker._errors, selectors.EVENT_READ, self._read_errors)
            while (reply := self._whole()) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ToolError(f"the tool took longer than {seconds:g} s")
                if cancelled.is_set():
                    raise ToolError("the call was cancelled")
                ready = selector.select(min(left, _GLANCE_SECONDS))
                for key, _ in ready:
                    if not key.data():
                        selector.unregister(key.fileobj)
                if not ready and not worker.alive:
                    raise self._dead()
        self._read_output()
        return reply

    def _whole(self) -> dict[str, Json] | None:
        """The reply, once all of it is there."""
        if len(self._reply) < LENGTH_BYTES:
            return None
        length = int.from_bytes(self._reply[:LENGTH_BYTES], "big")
        if length > self._most:
            raise ToolError("the tool's process answered nonsense")
        if len(self._reply) < LENGTH_BYTES + length:
            return None
        try:
            reply = json.loads(self._reply[LENGTH_BYTES : LENGTH_BYTES + length])
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            raise ToolError("the tool's process answered nonsense")
        return reply

    def _write(self) -> bool:
        try:
            self._request = self._request[os.write(self._worker._requests, self._request) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False  # the reply's pipe says how it ended
        return bool(self._request)

    def _read_reply(self) -> bool:
        part = _read(self._worker._replies)
        if part == b"":
            raise self._dead()
        self._reply += part or b""
        return True

    def _read_output(self) -> bool:
        return self._count(self._worker._output.fileno(), self.printed)

    def _read_errors(self) -> bool:
        return self._count(self._worker._errors.fileno(), self._complaints)

    def _count(self, pipe: int, kept: bytearray) -> bool:
        while part := _read(pipe):
            kept += part
            if len(self.printed) + len(self._complaints) > self._limit:
                raise ToolError(f"the tool printed more than {self._limit >> 10} KiB")
        return part is None

    def _dead(self) -> ToolError:
        reason = self._worker.ended()
        self._read_errors()
        words = " ".join(self._complaints.decode("utf-8", "replace").split())
        return ToolError(f"{reason}: …{words[-_LAST_WORDS:]}" if len(words) > _LAST_WORDS else _joined(reason, words))


def _joined(reason: str, words: str) -> str:
    return f"{reason}: {words}" if words else reason


def _read(pipe: int) -> bytes | None:
    """What there is to read; empty at the end, None when there is nothing yet."""
    try:
        return os.read(pipe, 1 << 16)
    except BlockingIOError:
        return None


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    own = {
        # linear algebra in a tool would otherwise reserve memory for every core
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONIOENCODING": "utf-8:replace",
        # a set is then written in the same order in every process
        "PYTHONHASHSEED": "0",
    }
    return {name: os.environ[name] for name in kept if name in os.environ} | own | dict(more)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
