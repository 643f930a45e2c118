"""A competitor in a process of its own, so that its peak of memory is its own, and its threads end with it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import multiprocessing
import resource
import sys
import time
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any


@dataclass(frozen=True)
class Turn:
    """One turn of a side."""

    seconds: float
    """Of all its work."""
    peak: int
    """The most bytes its process has held so far."""
    found: dict[str, Any] = field(default_factory=dict)
    """Its results: `tokens`, `output` …"""


class Side:
    """A competitor, made by calling `maker` ("module:name") with the arguments in a new process.

    What is made is called for each turn and gives a dictionary; where that has `seconds`, they count rather than the
    call's own, as a side may exclude preparation.

    Args:
        name: for the table.
        maker: a class of this folder.
        per_turn: problems it does in a turn.
        arguments: of the maker.
    """

    def __init__(self, name: str, maker: str, *, per_turn: int = 1, **arguments: Any) -> None:
        self.name = name
        self.per_turn = per_turn
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, maker, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._receive()

    def turn(self) -> Turn:
        """Take a turn.

        Raises:
            RuntimeError: the side failed; with its own traceback.
        """
        self._pipe.send("turn")
        found: Turn = self._receive()
        return found

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(timeout=10)
        self._process.kill()

    def _receive(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"{self.name} died with code {self._process.exitcode}") from None
        if kind == "error":
            raise RuntimeError(f"{self.name} failed:\n{value}")
        return value


def take_turns(sides: list[Side], rounds: int, warm_up: int = 1) -> dict[str, list[Turn]]:
    """Every side's turns, those of a round one after the other; the sides are closed.

    Args:
        sides: the competitors.
        rounds: turns that count.
        warm_up: turns of each side before them that do not.
    """
    turns: dict[str, list[Turn]] = {side.name: [] for side in sides}
    try:
        for number in range(warm_up + rounds):
            for side in sides:
                turn = side.turn()
                if number >= warm_up:
                    turns[side.name].append(turn)
    finally:
        for side in sides:
            side.close()
    return turns


def _work(pipe: Connection, maker: str, arguments: dict[str, Any]) -> None:
    """The life of a side's process."""
    module, name = maker.split(":")
    try:
        made = getattr(importlib.import_module(module), name)(**arguments)
        pipe.send(("ready", None))
        while True:
            pipe.recv()
            started = time.perf_counter()
            found = dict(made())
            seconds = found.pop("seconds", None) or time.perf_counter() - started
            pipe.send(("turn", Turn(seconds, _peak(), found)))
            del found
            _let_go()
    except EOFError:
        return
    except BaseException:  # noqa: BLE001 (whatever it is, the other process prints it)
        pipe.send(("error", traceback.format_exc()))


def _let_go() -> None:
    """Give freed memory back, so that the next side has it."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
            ctypes.CDLL(None).malloc_trim(0)


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
