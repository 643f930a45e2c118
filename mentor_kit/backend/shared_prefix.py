"""What new rows need not prefill, as the device holds it: a common prefix, and the beginnings of other rows.

The prefix that new rows have in common, such as a system prompt with tools, is prefilled once for given weights, and
kept beside the rows. A long one is attached, where the device can do that: rows attend to it where it is. Others are
copied to each row. A row whose context begins as another row's, as a latecomer's of a group does, copies that.

What the device cannot cut back is copied as a whole: the prefix is prefilled anew where new rows begin with a part of
it alone, so that it soon is what all have in common.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mentor_kit.backend import row_allocator
from mentor_kit.backend.microbatching import same_beginning
from mentor_kit.backend.row_allocator import RowAllocator
from mentor_kit.backend.row_device import Array, RowDevice
from mentor_kit.backend.row_table import RowTable


class SharedPrefix:
    """Finds, prefills and hands out the prefix.

    Args:
        table: the rows.
        device: holds keys and values.
        allocator: of the rows.
        chunk: tokens that are prefilled in one pass.
    """

    def __init__(self, table: RowTable, device: RowDevice[Any], allocator: RowAllocator, chunk: int) -> None:
        self._table = table
        self._device = device
        self._allocator = allocator
        self._chunk = chunk
        self.tokens: list[int] = []
        """Those whose keys and values the device holds."""

    def forget(self) -> None:
        """Nothing that is held is valid any more; rows hold nothing that is needed either."""
        self.tokens = []
        if self._device.attached:
            self._device.attach_prefix(0)

    def hand_out(self) -> None:
        """Have fresh rows start behind what is held of their contexts; prefill what all of them have in common."""
        if self._device.keeps_prefix:
            self._keep_attached()
        fresh = self._table.fresh()
        if len(fresh) and self._device.keeps_prefix:
            self._start_behind(fresh)
        if self._device.keeps_rows:
            self._copy_beginnings(fresh)

    def _copy_beginnings(self, fresh: Array) -> None:
        """Copy to fresh rows what other rows hold of their contexts, where that saves enough."""
        device, table = self._device, self._table
        for row in fresh.tolist():
            other, length = table.longest_beginning(row)
            if length - table.held[row] >= row_allocator.SHORTEST_SHARED:
                self._allocator.reserve(length)
                device.copy(np.array([other]), np.array([row]), length)
                table.held[row] = length

    def _start_behind(self, fresh: Array) -> None:
        device, table = self._device, self._table
        common = table.common_beginning(fresh)
        length = same_beginning([np.asarray(self.tokens), np.asarray(common)])
        if length < row_allocator.SHORTEST_SHARED:
            length = self._prefill(common) if len(fresh) > 1 else 0
        elif length < len(self.tokens) and not device.cuts_rows:
            length = self._prefill(self.tokens[:length])
        if not length:
            return
        if self._allocator.would_attach(length) and not table.longest_held:
            length = self._allocator.attachable(length)
            device.attach_prefix(length)
        else:
            self._allocator.reserve(table.longest)
            device.copy_prefix(fresh, length)
        table.held[fresh] = length

    def _keep_attached(self) -> None:
        """Count the attached prefix as held by rows that begin with it; copy it to each if another row does not."""
        device, table = self._device, self._table
        if device.attached:
            begun = table.begun_with(self.tokens[: device.attached])
            table.held[begun] = np.maximum(table.held[begun], device.attached)
            if table.least_held() < device.attached:
                device.copy_attached()

    def _prefill(self, tokens: list[int]) -> int:
        """Prefill the tokens as the prefix; how many it has, 0 where it is not worth it or there is no memory."""
        if len(tokens) < row_allocator.SHORTEST_SHARED:
            return 0
        attaches = self._allocator.would_attach(len(tokens)) and not self._table.longest_held
        if not attaches and not self._allocator.fits_prefix(len(tokens)):
            return 0
        self._device.hold_prefix(tokens, self._chunk)
        self.tokens = tokens
        return len(tokens)
