"""The memory that keys and values of sampled rows may take, and the steps in which room is made for them."""

from __future__ import annotations

from dataclasses import dataclass

from mentor_kit.core.errors import BackendError

#: Positions are allocated in multiples of this.
POSITION_STEP = 128
#: Rows are allocated in multiples of this where memory is not limited, as larger buffers are copies of smaller ones.
ROW_STEP = 8


def in_steps(positions: int) -> int:
    """`positions`, rounded up to a multiple of `POSITION_STEP`."""
    return -(-positions // POSITION_STEP) * POSITION_STEP


@dataclass(frozen=True)
class KVBudget:
    """A limit on the keys and values of rows of equal length, and of a prefix that is kept beside them."""

    limit: int | None
    """Bytes; None for no limit."""
    position: int
    """Bytes of one token's keys and values in all layers."""
    option: str = "backend.kv_memory"
    """The option that sets the limit, for messages."""
    row: int = 0
    """Bytes of a row's state that is of fixed size, as of recurrent layers."""

    def rows(self, needed: int) -> int:
        """How many rows to allocate where `needed` are used."""
        return needed if self.limit is not None else -(-needed // ROW_STEP) * ROW_STEP

    def fits(self, rows: int, positions: int, prefix: int = 0) -> bool:
        """Whether `rows` rows of `positions` positions each, and a prefix of `prefix` tokens, are within the limit."""
        return self.limit is None or self._bytes(rows, positions, prefix) <= self.limit

    def check(self, positions: int) -> None:
        """Refuse a row of `positions` positions that exceeds the limit even alone.

        Raises:
            BackendError: it does.
        """
        if self.limit is not None and not self.fits(1, positions):
            needed, given = (size / 2**30 for size in (self._bytes(1, positions, 0), self.limit))
            raise BackendError(
                f"a sequence of up to {positions:,} tokens needs {needed:.3g} GiB of keys and values, "
                f"and `{self.option}` allows {given:.3g}",
                hint=f"raise `{self.option}`, or lower `rollout.max_response_tokens` or `backend.max_context`",
            )

    def _bytes(self, rows: int, positions: int, prefix: int) -> int:
        return (rows * in_steps(positions) + prefix) * self.position + (rows + (prefix > 0)) * self.row
