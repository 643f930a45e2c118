"""The contract of a device that samples rows: what a backend supplies to `mentor_kit.backend.engine.StepEngine`.

    StepEngine ──reserve, copy, free──────────────> what the layers keep, a row each
               ──fill, forward────────────────────> the model, on tokens of some rows
               ──hold_prefix, copy_prefix, attach──> a prefix that many rows begin with, kept beside the rows
               ──draw──────────────────────────────> tokens and log-probabilities
           ──begin_decoding, decode────────────> the next tokens of rows, pass after pass, without what was drawn

A row holds what the layers keep of a sequence (`mentor_kit.backend.row_state`), such as its keys and values by
position. Rows may be of any length: what lies beyond a row's tokens has no meaning, and a token at position p sees
positions up to p alone.

A device says by flags what it can do. Without `keeps_rows` every pass is given whole contexts, and only `forward`
and `draw` are called: that suits models whose layers' state is not understood. Without `cuts_rows` a row goes on behind
its last token alone, as recurrent layers do. Without `keeps_prefix` common prefixes are prefilled row by row. Without
`attends_prefix` they are copied to each row. With `decodes` it keeps by itself what decoding needs of rows, so that a
pass can be launched before the last one's tokens are read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Logits = TypeVar("Logits")


class DeviceMemoryError(Exception):
    """The device has no memory left for what it was asked to do."""


@dataclass(frozen=True)
class RowPass:
    """n sequences of T tokens each, to run through the model."""

    ids: Array
    """(n, T) token ids; arbitrary ones at positions where a row has no token to take in."""
    positions: Array
    """(n, T): each token's position in its row; 0, 1, … where whole contexts are given."""
    length: int
    """Keys are read at positions below it."""
    rows: Array | None = None
    """(n,): the rows they belong to; None for the first n."""
    counts: Array | None = None
    """(n,): how many of its tokens, from the first, each row takes in; a row that takes in none is as before. None
    where whole contexts are given."""


@dataclass(frozen=True)
class DrawSettings:
    """From which distribution each of m sequences' tokens are drawn; every array has shape (m,)."""

    temperature: NDArray[np.float32]
    """0 is greedy."""
    top_p: NDArray[np.float32]
    """In (0, 1]; 1 keeps all."""
    top_k: NDArray[np.int64]
    """0 keeps all."""

    @property
    def filtered(self) -> bool:
        """Whether any sequence has a top-p below 1 or a top-k."""
        return bool((self.top_p < 1).any() or (self.top_k > 0).any())

    @property
    def greedy(self) -> bool:
        """Whether any sequence has temperature 0."""
        return bool((self.temperature == 0).any())


@dataclass(frozen=True)
class SamplingParams(DrawSettings):
    """How the next token of each of m sequences is drawn; every array has shape (m,)."""

    uniform: NDArray[np.float64]
    """In [0, 1): where the inverse CDF is read."""


@dataclass(frozen=True)
class DecodingRows:
    """The first n rows, and m sequences that are sampled from them; see `RowDevice.begin_decoding`."""

    ids: Array
    """(n,): the token that each row takes in next; an arbitrary one of rows that run along."""
    positions: Array
    """(n,): its position."""
    places: Array
    """(m,): the row from whose logits each sequence draws; several may draw from one."""
    feeds: Array
    """(n,): which sequence's new tokens a row takes in; -1 of rows that run along."""
    settings: DrawSettings
    """Of the sequences."""
    seeds: NDArray[np.uint64]
    """(m,): the uniform number of a token is that of its sequence's seed and its position
    (`mentor_kit.utils.randomness.uniforms`)."""
    known: Array
    """(m,): the position of the token that each sequence draws next."""
    limits: Array
    """(m,): a sequence ends with so many tokens."""
    stops: Sequence[frozenset[int]]
    """(m,): it ends with one of these tokens."""


ReadTokens = Callable[[], tuple[Array, Array]]
"""Waits for what `RowDevice.decode` drew: tokens (m,), int64, and their log-probabilities (m,), float32."""


class RowDevice(ABC, Generic[Logits]):
    """A model, and its keys and values in rows. `Logits` is the device's own array type, of shape (m, vocabulary)."""

    keeps_rows: bool = False
    """Whether keys and values, and whatever else layers keep, stay in rows from pass to pass."""
    cuts_rows: bool = True
    """Whether a row can go on behind an earlier token than its last, and the prefix be copied in part; else whatever
    differs from what is held is prefilled anew."""
    keeps_prefix: bool = False
    """Whether a prefix can be kept beside the rows, and copied to them."""
    attends_prefix: bool = False
    """Whether rows can attend to that prefix where it is."""
    attached_step: int = 1
    """The length of an attached prefix is a multiple of this; rows prefill what is behind it."""
    decodes: bool = False
    """Whether the device keeps what decoding needs of rows, and changes it there: `begin_decoding` and `decode`."""

    rows: int = 0
    """Rows that are allocated."""
    positions: int = 0
    """Positions that each of them has, behind the attached prefix."""
    attached: int = 0
    """Tokens of the prefix that all rows attend to where it is: the first position of a row's own is this one."""
    prefix_positions: int = 0
    """Positions that the prefix's own place has."""

    @property
    def nbytes(self) -> int:
        """Bytes that rows and prefix take."""
        return 0

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """How many tokens the model knows."""

    @abstractmethod
    def forward(self, batch: RowPass, last: Array) -> Logits:
        """Run tokens, keep their keys and values, and compute logits.

        Args:
            batch: n sequences.
            last: (m,), m <= n: the column of each of the first m whose logits are wanted.

        Raises:
            DeviceMemoryError: there is not enough memory.
        """

    @abstractmethod
    def draw(self, logits: Logits, places: Array, params: SamplingParams) -> tuple[Array, Array]:
        """Draw one token from each of some logits.

        Args:
            logits: (n, V), from `forward`.
            places: (m,): the row of the logits that each token is drawn from; a row may come several times.
            params: how; the token is the first in the order of ids at which the cumulative probability, after top-k
                and top-p, exceeds the uniform number.

        Returns:
            Tokens (m,), int64, and their log-probabilities (m,), float32, under the full distribution at the
            temperature (1 where it is 0).
        """

    def fill(self, batch: RowPass) -> None:
        """As `forward`, where keys and values alone are wanted."""
        self.forward(batch, np.zeros(len(batch.ids), dtype=np.int64))

    def pass_rows(self, needed: int) -> int:
        """How many rows a decoding pass should have, at least those needed and at most those allocated.

        The others run along: they take in an arbitrary token at the position behind what they hold.
        """
        return needed

    def begin_decoding(self, rows: DecodingRows) -> None:
        """Take over rows for the passes of `decode`, in place of those of an earlier call."""
        raise NotImplementedError

    def decode(self, length: int) -> ReadTokens:
        """Launch a pass of one token a row, and the draw of each sequence's next token; returns before they are done.

        Each sequence's token is what its row takes in next, a position further on. A sequence that has ended, by a
        stop token or its limit, stays where it is, and its row takes in its last token again.

        Args:
            length: keys are read at positions below it.

        Returns:
            What waits for the tokens and log-probabilities of all m sequences, as `draw` gives them; arbitrary ones
            of those that had ended. It may be called after the next pass is launched.

        Raises:
            DeviceMemoryError: there is not enough memory.
        """
        raise NotImplementedError

    def activity(self, kind: Literal["prefill", "decode"]) -> AbstractContextManager[None]:
        """Entered around all work of a kind, for modes and meters.

        Raises:
            DeviceMemoryError: the work ran out of memory.
        """
        return nullcontext()

    def reserve(self, rows: int, positions: int) -> None:
        """Grow to so many rows of so many positions behind the attached prefix; what is held is kept."""
        raise NotImplementedError

    def copy(self, source: Array, target: Array, length: int) -> None:
        """Copy rows `source` (n,) to rows `target` (n,) up to position `length`; all are read before any is written."""
        raise NotImplementedError

    def free(self) -> None:
        """Free all rows, and the prefix; nothing is attached then."""
        raise NotImplementedError

    def forget(self) -> None:
        """As `free`, before other rows are taken: a device may keep memory for as many rows and positions, or fewer."""
        self.free()

    def hold_prefix(self, ids: Sequence[int], chunk: int) -> None:
        """Run a prefix, `chunk` tokens a pass, and keep its keys and values in place of those of an earlier one."""
        raise NotImplementedError

    def copy_prefix(self, target: Array, length: int) -> None:
        """Copy the first `length` positions of the prefix to rows `target` (n,)."""
        raise NotImplementedError

    def attach_prefix(self, length: int) -> None:
        """Have all rows attend to the first `length` tokens of the prefix where it is; 0 detaches it.

        Called while no row holds anything that is needed.
        """
        raise NotImplementedError

    def copy_attached(self) -> None:
        """Give each row a copy of the attached prefix of its own, in front of what it holds, and detach it."""
        raise NotImplementedError
