"""Limits of a page: which rollouts it keeps, and how large it may become."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from mentor_kit.core.errors import UsageError

T = TypeVar("T")

_SELECTION = re.compile(r"(every|worst)=([1-9]\d*)")


@dataclass(frozen=True)
class PageLimits:
    """Which rollouts a page keeps, and its size."""

    kind: Literal["all", "every", "worst", "none"] = "all"
    """all: of every recorded step; every: of every `count`-th recorded step, and of the last one; worst: the `count`
    groups (a step's attempts at one problem) with the lowest mean reward; none."""
    count: int = 1
    megabytes: float = 20.0
    """The largest size of the file in MB (10⁶ bytes), for all runs together."""

    @staticmethod
    def of(rollouts: str = "all", megabytes: float = 20.0) -> PageLimits:
        """The limits as a user writes them.

        Args:
            rollouts: `all`, `none`, `every=N` or `worst=N`.
            megabytes: the largest size, in MB.

        Raises:
            UsageError: one of them is something else.
        """
        if not (isinstance(megabytes, int | float) and 1 <= megabytes <= 1000):
            raise UsageError(f"megabytes is {megabytes!r}", hint="give a number from 1 to 1000")
        if rollouts == "all":
            return PageLimits(megabytes=megabytes)
        if rollouts == "none":
            return PageLimits("none", megabytes=megabytes)
        found = _SELECTION.fullmatch(str(rollouts))
        if found is None:
            raise UsageError(f"rollouts is {rollouts!r}", hint="give all, none, every=N or worst=N, such as every=10")
        kind: Literal["every", "worst"] = "every" if found.group(1) == "every" else "worst"
        return PageLimits(kind, int(found.group(2)), megabytes)

    @property
    def bytes(self) -> int:
        """The largest size in bytes."""
        return int(self.megabytes * 1e6)


def spread(items: Sequence[T]) -> Iterator[T]:
    """The items in an order of which every beginning is spread evenly: the last, the first, then the middles."""
    if not items:
        return
    last = len(items) - 1
    given = {last, 0} if last else {0}
    yield items[last]
    if last:
        yield items[0]
    distance = 1
    while distance < last:
        distance *= 2
    while distance > 1:
        for place in range(distance // 2, last, distance):
            if place not in given:
                given.add(place)
                yield items[place]
        distance //= 2
