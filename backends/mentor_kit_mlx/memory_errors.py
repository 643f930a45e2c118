"""MLX's errors where memory is out, told from its others: all of them are RuntimeErrors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

#: Parts of what MLX says, in lower case: of the CPU's and Metal's allocators, of Metal's command buffers, of CUDA.
_WORDS = ("unable to allocate", "attempting to allocate", "insufficient memory", "out of memory", "outofmemory")


class OutOfMemoryError(RuntimeError):
    """There is no memory for a computation; a smaller one may do."""


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise MLX's errors of memory as `OutOfMemoryError`.

    Raises:
        OutOfMemoryError: there was no memory for what was computed here.
    """
    try:
        yield
    except RuntimeError as error:
        if any(word in str(error).lower() for word in _WORDS):
            raise OutOfMemoryError(str(error)) from None
        raise
