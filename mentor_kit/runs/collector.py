"""Python's garbage collector, kept away from what lives as long as the run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settled_garbage() -> Iterator[None]:
    """What there is now is not searched for garbage for a while: libraries and models are many objects, all in use."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
