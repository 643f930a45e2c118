"""Tools that misbehave in every way there is, and some that do not; loaded in workers alone."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

from mentor_kit.core.tool import ToolError

COUNT = 0


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: the first.
        b: the second.
    """
    return a + b


def pid() -> int:
    """The number of the process."""
    return os.getpid()


def count() -> int:
    """How often it was called."""
    global COUNT
    COUNT += 1
    return COUNT


async def later(seconds: float) -> str:
    """An asynchronous function."""
    import asyncio

    await asyncio.sleep(seconds)
    return "later"


def variables() -> list[str]:
    """The names of all environment variables."""
    return sorted(os.environ)


def folder() -> str:
    """The working folder."""
    return os.getcwd()  # noqa: PTH109


def tell(text: str) -> None:
    """Print, and return nothing."""
    print(text)


def echo(text: str) -> str:
    """Give it back."""
    return text


def refuse(reason: str) -> None:
    """Fail as foreseen."""
    raise ToolError(reason)


def fail(reason: str) -> None:
    """Fail as unforeseen."""
    raise ValueError(reason)


def hang() -> None:
    """Sleep without end."""
    time.sleep(10_000)


def spin() -> None:
    """Compute without end."""
    while True:
        pass


def hold_the_lock() -> None:
    """Hang in C code that keeps the interpreter's lock, so that no thread of the process runs."""
    import re

    re.match(r"(a+)+$", "a" * 64 + "b")


def leave(code: int) -> None:
    """End the process at once."""
    os._exit(code)


def stop() -> None:
    """Ask the interpreter to end."""
    sys.exit(3)


def crash() -> None:
    """Read where no memory is."""
    ctypes.string_at(0)


def abort() -> None:
    """Kill itself with a signal that cannot be caught."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill() -> int:
    """Allocate without end."""
    kept = []
    while True:
        kept.append(bytearray(16 << 20))


def large() -> str:
    """A result of four gigabytes, or what the memory has room for."""
    return "x" * (200 << 20)


def flood() -> None:
    """Print without end."""
    while True:
        sys.stdout.write("spam " * 10_000)


def flood_errors() -> None:
    """Print without end to standard error, past Python."""
    while True:
        os.write(2, b"spam " * 10_000)


def deafen() -> None:
    """Close every pipe."""
    os.closerange(0, 256)
    time.sleep(10_000)


def babble() -> None:
    """Write nonsense to every pipe."""
    for pipe in range(3, 64):
        try:
            os.write(pipe, b"\xff" * 64)
        except OSError:
            continue


def lie() -> None:
    """Answer as if to another request."""
    frame = b'{"id": 999, "value": 1}'
    for pipe in range(3, 64):
        try:
            os.write(pipe, len(frame).to_bytes(8, "big") + frame)
        except OSError:
            continue


def fork() -> int:
    """Come back twice."""
    os.fork()
    return os.getpid()


def child(path: str) -> None:
    """Start a process that writes its number to a file, and hang with it."""
    process = subprocess.Popen(["sleep", "10000"])
    with open(path, "w") as file:  # noqa: PTH123
        file.write(str(process.pid))
    process.wait()


def write(path: str, megabytes: int) -> None:
    """Write a file."""
    with open(path, "wb") as file:  # noqa: PTH123
        for _ in range(megabytes):
            file.write(b"x" * (1 << 20))


def deep() -> list[object]:
    """A list in a list in a list …"""
    found: list[object] = []
    for _ in range(100_000):
        found = [found]
    return found


def odd() -> dict[str, object]:
    """What JSON has no words for."""
    return {"set": {1}, "bytes": b"b", "nan": float("nan"), "surrogate": "\udc80", "self": threading.Thread}


def huge() -> int:
    """A number of a hundred thousand digits."""
    return 10**100_000


def replace_output() -> None:
    """Put something else in place of standard output."""
    sys.stdout = None  # type: ignore[assignment]
