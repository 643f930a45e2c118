"""The clock gives every second to one thing."""

from __future__ import annotations

import asyncio
from typing import Any

from mentor_kit.benchmark.clock import ActivityClock


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nested_kinds_and_gaps() -> None:
    time = Time()
    clock = ActivityClock(time)
    time.now += 1  # nobody's
    with clock.on("tools"):
        time.now += 2
        with clock.on("sample"):
            time.now += 4
        time.now += 8
    with clock.on("reward"):
        time.now += 16
        assert clock.read()["reward"] == 16
        time.now += 32
    found = clock.read()
    assert {kind: seconds for kind, seconds in found.items() if seconds} == {"tools": 10, "sample": 4, "reward": 48}


def test_tools_side_by_side_count_once() -> None:
    time = Time()
    clock = ActivityClock(time)
    started = asyncio.Event()

    async def tool(first: bool) -> None:
        with clock.on("tools"):
            if first:
                time.now += 3
                started.set()
                await asyncio.sleep(0)
            else:
                await started.wait()
            time.now += 5

    async def both() -> Any:
        await asyncio.gather(tool(True), tool(False))

    asyncio.run(both())
    assert clock.read()["tools"] == 13


def test_an_error_ends_what_went_on() -> None:
    time = Time()
    clock = ActivityClock(time)
    try:
        with clock.on("update"):
            time.now += 1
            raise ValueError
    except ValueError:
        time.now += 50
    assert clock.read()["update"] == 1
