"""Python's garbage collector, kept away from what is in use: libraries, models, and what a run goes through.

Episodes are many small objects without cycles, which go by themselves. Loading large libraries makes many more, none of
them garbage, and a program that ends would search all of them once more.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: So many more objects than before, and they are searched; Python's own number is 700.
MANY = 50_000


@contextmanager
def infrequent_collection() -> Iterator[None]:
    """For a program as a whole: garbage is looked for seldom, and not at all at its end, when everything goes."""
    gc.set_threshold(MANY)
    try:
        yield
    finally:
        gc.freeze()


@contextmanager
def frozen_heap() -> Iterator[None]:
    """For a run: what there is now is not searched for a while, and what comes, seldom."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(MANY)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
