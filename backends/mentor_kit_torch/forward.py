"""Forward passes over rows of states: what they write and read there, and how their tokens attend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mentor_kit.backend.row_device import Array
from mentor_kit_torch.lm_wrapper import TorchLMWrapper
from mentor_kit_torch.row_attention import RowAttention
from mentor_kit_torch.row_states import TorchRowStates, causal_mask


@dataclass(frozen=True)
class ForwardPasses:
    """Runs the model on tokens of rows, whose common prefix may be stored once (`TorchRowStates.base`)."""

    lm: TorchLMWrapper
    beginning: TorchRowStates
    """Holds it in its first row."""
    parts: bool
    """Whether the model can attend in parts; else there is no such beginning."""
    continues: bool = True
    """Whether its recurrences take in several tokens behind others; else one after the other."""

    def run(
        self,
        states: TorchRowStates,
        ids: Tensor,
        where: Tensor,
        length: int,
        chosen: Tensor | None = None,
        fresh: Tensor | None = None,
        idle: Tensor | None = None,
        starts: Array | None = None,
    ) -> Tensor:
        """Hidden states (n, T, width).

        Args:
            states: have room for the positions below `length`.
            ids: (n, T), of the states' first n rows, or of those `chosen` (n,).
            where: (n, T), their positions.
            length: more than the greatest position; keys are read up to there.
            chosen: rows.
            fresh: (k,), rows that begin here; needed where states cannot be cut back, and so is `idle`.
            idle: (k,), rows that stay as they are.
            starts: (n,), the first column of `where`, for which a device need not be waited for then.
        """
        base = states.base
        if base:
            # rows that are nobody's run along at some place of theirs
            where, length = where.clamp(min=base), max(length, base + 1)
        states.aim_at(where, length, chosen, fresh, idle)
        hidden = self._hidden(states, ids, where, length, starts)
        states.take_back()
        return hidden

    def _hidden(self, states: TorchRowStates, ids: Tensor, where: Tensor, length: int, starts: Array | None) -> Tensor:
        base = states.base
        keys = torch.arange(base, length, device=where.device).unsqueeze(0)
        shown = causal_mask(where, keys)
        pairs = ids.numel() * length
        if not self.parts:
            mask = self.lm.mask(shown, where, keys)
            return self.lm.hidden(ids, where, mask=mask, cache=states.cache, pairs=pairs)
        start = None
        if ids.shape[1] > 1:
            start = _common_start(where[:, 0].cpu().numpy() if starts is None else starts, base)
        plan = RowAttention(self.beginning.cache, base, start)
        read = keys_read(len(ids), length, base)
        return self.lm.hidden(ids, where, mask=shown, cache=states.cache, plan=plan, pairs=pairs, keys=read)

    def take_in(self, states: TorchRowStates, ids: Array, start: Array, rows: Array | None, counts: Array) -> Tensor:
        """Hidden states (n, T, width) of rows that take in different numbers of tokens, whatever their layers keep.

        Recurrences know of no padding: rows are run together up to where the first of them ends, then those that are
        left. Hidden states behind a row's end are arbitrary.

        Args:
            states: have room for the tokens.
            ids: (n, T) tokens.
            start: (n,): the position of each row's first one.
            rows: (n,): theirs; None for the first n.
            counts: (n,): how many of its tokens each row takes in.

        Raises:
            CutError: a row is of more tokens than it starts behind.
        """
        states.advance(np.arange(len(ids)) if rows is None else rows, start, counts)
        if rows is None and ids.shape[1] == 1:
            idle = np.nonzero(counts == 0)[0]
            return self._counted(states, ids, start, None, idle)
        rows = np.arange(len(ids)) if rows is None else rows
        found: Tensor | None = None
        for begin, end in self._stairs(start, counts):
            taking = np.nonzero(counts > begin)[0]
            part = self._counted(states, ids[taking, begin:end], start[taking] + begin, rows[taking])
            if found is None:
                found = part.new_zeros((*ids.shape, *part.shape[2:]))
            found[self._tensor(taking), begin:end] = part
        assert found is not None
        return found

    def _stairs(self, start: Array, counts: Array) -> Iterator[tuple[int, int]]:
        """The columns of each pass: all rows that take in any of them take in all."""
        begin = 0
        for end in np.unique(counts[counts > 0]).tolist():
            behind = begin > 0 or bool((start[counts > 0] > 0).any())
            width = 1 if behind and not self.continues else end - begin
            yield from ((column, column + width) for column in range(begin, end, width))
            begin = end

    def _counted(
        self, states: TorchRowStates, ids: Array, start: Array, rows: Array | None, idle: Array | None = None
    ) -> Tensor:
        """A pass in which every row but the idle ones takes in all its tokens."""
        where = start[:, None] + np.arange(ids.shape[1])
        fresh = np.nonzero(start == 0)[0]
        if idle is not None:
            fresh = np.setdiff1d(fresh, idle)
        fresh = fresh if rows is None else rows[fresh]
        tensor = self._tensor
        chosen = None if rows is None else tensor(rows)
        begun = tensor(fresh) if len(fresh) else None
        still = tensor(idle) if idle is not None and len(idle) else None
        return self.run(states, tensor(ids), tensor(where), int(where.max()) + 1, chosen, begun, still, start)

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.lm.device)


def keys_read(rows: int, length: int, base: int) -> int:
    """Keys that a pass reads: each row's own, and the common beginning's once."""
    return base + rows * (length - base)


def _common_start(starts: Array, base: int) -> int | None:
    """Where the rows' tokens, from places (n,) on, begin behind `base`, if that is one place."""
    starts = np.maximum(starts, base)
    return int(starts[0]) - base if (starts == starts[0]).all() else None
