"""Settings of Python's garbage collector that save time: long-lived objects are not scanned.

Episodes create many small objects without cycles, which reference counting frees. Large libraries create many
long-lived objects, which the collector would scan again and again, and once more at exit.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: New objects that start a collection; Python's default is 700.
MANY = 50_000


@contextmanager
def infrequent_collection() -> Iterator[None]:
    """Set the collector for a whole program: it runs rarely, and not at exit."""
    gc.set_threshold(MANY)
    try:
        yield
    finally:
        gc.freeze()


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Set the collector for a run: existing objects are frozen, and collections are rare.

    A program that has frozen its own objects before keeps them so: the collector could only unfreeze all at once.
    """
    before, has_frozen = gc.get_threshold(), gc.get_freeze_count() > 0
    gc.collect()
    if not has_frozen:
        gc.freeze()
    gc.set_threshold(MANY)
    try:
        yield
    finally:
        if not has_frozen:
            gc.unfreeze()
        gc.set_threshold(*before)
