"""Tells how many rows are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

#: Rows between two reports of progress.
_INTERVAL = 256


def counted(rows: Iterable[T], progress: Callable[[int, int], None] | None) -> Iterator[T]:
    """Yield rows, and report how many are done from time to time.

    Args:
        rows: any number.
        progress: called with how many rows are done, and 0, as it is not known how many there are.
    """
    for done, row in enumerate(rows):
        if progress is not None and done % _INTERVAL == 0:
            progress(done, 0)
        yield row
