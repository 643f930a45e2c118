"""How much of the memory keys and values may take."""

from __future__ import annotations

from dataclasses import dataclass

from mentor_kit.core.errors import BackendError

#: Room is made for so many more positions at once.
POSITION_STEP = 128


def in_steps(positions: int) -> int:
    """So many positions, or as many more as there are in a whole number of steps."""
    return -(-positions // POSITION_STEP) * POSITION_STEP


@dataclass(frozen=True)
class KVBudget:
    """A limit on the keys and values of rows of one length, beside a beginning that is kept once."""

    limit: int | None
    """Bytes; None for no limit."""
    position: int
    """Bytes of one token of one row."""

    def fits(self, rows: int, positions: int, beginning: int = 0) -> bool:
        """Whether so many rows of so many positions of their own are within the limit."""
        return self.limit is None or self._bytes(rows, positions, beginning) <= self.limit

    def check(self, positions: int) -> None:
        """That a single row of so many positions is within the limit.

        Raises:
            BackendError: it is not.
        """
        if not self.fits(1, positions):
            assert self.limit is not None
            needed, given = (size / 2**30 for size in (self._bytes(1, positions, 0), self.limit))
            raise BackendError(
                f"a sequence of up to {positions:,} tokens needs {needed:.3g} GiB of keys and values, "
                f"and `backend.kv_memory` allows {given:.3g}",
                hint="raise `backend.kv_memory`, or lower `rollout.max_response_tokens` or `backend.max_context`",
            )

    def _bytes(self, rows: int, positions: int, beginning: int) -> int:
        return (rows * in_steps(positions) + beginning) * self.position
