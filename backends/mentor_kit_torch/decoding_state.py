"""What decoding needs of rows, on their device, and a pass that changes it there.

Tokens, positions, seeds, settings, limits and stop tokens of all rows are one array of int64 on the device, and every
name here is a view of it. It is written by one copy when rows are handed over, and by each pass after that.

    pass over one token a row ──> logits ──> uniform numbers ──> tokens ──> the rows' next tokens and positions
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mentor_kit.backend.row_device import Array, DecodingRows, ReadTokens
from mentor_kit.utils.randomness import mixed_seeds
from mentor_kit_torch.device_copy import to_device
from mentor_kit_torch.forward import ForwardPasses
from mentor_kit_torch.row_states import TorchRowStates
from mentor_kit_torch.sampling import DrawTensors, draw, is_scaled
from mentor_kit_torch.uniforms import uniforms

#: On a device other than the CPU a pass reads so many keys, or a multiple of it: kernels want masks to be aligned.
KEY_STEP = 16
#: What a stop token's place holds where a sequence has fewer of them.
_NONE = -1


@dataclass(frozen=True)
class DecodingShape:
    """What passes over one state have in common, besides the number of keys."""

    rows: int
    sequences: int
    stops: int
    """The most stop tokens of a sequence."""
    filtered: bool
    greedy: bool
    scaled: bool
    straight: bool
    """Whether each sequence draws from the row of its own number."""


def shape_of(given: DecodingRows, rows: int, sequences: int) -> DecodingShape:
    """The shape for so many rows and sequences, at least those given."""
    settings = given.settings
    return DecodingShape(
        rows,
        sequences,
        max((len(ids) for ids in given.stops), default=0),
        settings.filtered,
        settings.greedy,
        is_scaled(settings),
        sequences == rows and np.array_equal(given.places, np.arange(len(given.places))),
    )


class DecodingState:
    """Rows and sequences of one shape.

    Args:
        shape: theirs.
        device: where they are.
    """

    def __init__(self, shape: DecodingShape, device: torch.device) -> None:
        self.shape = shape
        n, m = shape.rows, shape.sequences
        sizes = [n, n, n, n, *[m] * 8, m * shape.stops]
        self._buffer = torch.zeros(sum(sizes), dtype=torch.int64, device=device)
        ids, positions, self.feeds, self.fed, *own = torch.split(self._buffer, sizes)
        self.ids, self.positions = ids.unsqueeze(1), positions.unsqueeze(1)
        self.places, self.seeds, self.known, self.limits, self.going, *own = own
        temperature, top_p, self.top_k, stops = own
        self.temperature, self.top_p = temperature.view(torch.float64), top_p.view(torch.float64)
        self.stops = stops.view(m, shape.stops)

    def put(self, given: DecodingRows) -> None:
        """Take over rows and sequences; those that the shape has beyond them run along, and have ended."""
        n, m = self.shape.rows, self.shape.sequences
        stops = np.full((m, self.shape.stops), _NONE)
        for row, ids in enumerate(given.stops):
            stops[row, : len(ids)] = sorted(ids)
        settings = given.settings
        parts = [
            _padded(given.ids, n, 0),
            _padded(given.positions, n, 0),
            _padded(np.maximum(given.feeds, 0), n, 0),
            _padded(given.feeds >= 0, n, 0),
            _padded(given.places, m, 0),
            _padded(mixed_seeds(given.seeds).view(np.int64), m, 0),
            _padded(given.known, m, 0),
            _padded(given.limits, m, 0),
            _padded(np.ones(len(given.known)), m, 0),
            _padded(settings.temperature.astype(np.float64), m, 1.0).view(np.int64),
            _padded(settings.top_p.astype(np.float64), m, 1.0).view(np.int64),
            _padded(settings.top_k, m, 0),
            stops.ravel(),
        ]
        if self.shape.straight:
            parts[4] = np.arange(m)
        self._buffer.copy_(to_device(torch.from_numpy(np.concatenate(parts)), self._buffer.device), non_blocking=True)

    def saved(self) -> Tensor:
        """A copy, for `restore`."""
        return self._buffer.clone()

    def restore(self, saved: Tensor) -> None:
        """Be as it was."""
        self._buffer.copy_(saved)

    def draw(self, logits: Tensor) -> Tensor:
        """Draw the sequences' next tokens from their rows' logits (n, V); go on to the next pass.

        Returns:
            What `reading` takes.
        """
        shape = self.shape
        if not shape.straight:
            logits = logits.index_select(0, self.places)
        how = DrawTensors(
            temperature=self.temperature.float(),
            top_p=self.top_p if shape.filtered else None,
            top_k=self.top_k if shape.filtered else None,
            scaled=shape.scaled,
            greedy=shape.greedy,
        )
        tokens, log_probs = draw(logits, how, uniforms(self.seeds, self.known))
        self._go_on(tokens)
        return packed(tokens, log_probs)

    def _go_on(self, tokens: Tensor) -> None:
        moved = self.going.index_select(0, self.feeds).mul_(self.fed)
        self.ids.copy_(torch.where(moved > 0, tokens.index_select(0, self.feeds), self.ids[:, 0]).unsqueeze(1))
        self.positions.add_(moved.unsqueeze(1))
        self.known.add_(self.going)
        stays = self.known < self.limits
        if self.shape.stops:
            stays &= (self.stops != tokens.unsqueeze(1)).all(dim=1)
        self.going.mul_(stays)


def _padded(values: Array, size: int, fill: float) -> Array:
    """(size,), in int64 but for floating-point fills."""
    found = np.full(size, fill, dtype=np.float64 if isinstance(fill, float) else np.int64)
    found[: len(values)] = values
    return found


def packed(tokens: Tensor, log_probs: Tensor) -> Tensor:
    """(2, m) in int64: tokens, and the bits of their log-probabilities in float64."""
    return torch.stack([tokens, log_probs.double().view(torch.int64)])


def reading(drawn: Tensor) -> ReadTokens:
    """Reads what was `packed`, from a copy that is ordered now."""
    if drawn.device.type != "cuda":
        held = drawn.to("cpu", copy=True)
        return lambda: unpacked(held)
    held = torch.empty(drawn.shape, dtype=drawn.dtype, pin_memory=True)
    held.copy_(drawn, non_blocking=True)
    there = torch.cuda.Event()  # type: ignore[no-untyped-call]
    there.record(torch.cuda.current_stream(drawn.device))

    def read() -> tuple[Array, Array]:
        there.synchronize()
        return unpacked(held)

    return read


def unpacked(held: Tensor) -> tuple[Array, Array]:
    """Tokens (m,) and log-probabilities (m,)."""
    return held[0].numpy(), held[1].view(torch.float64).float().numpy()


def decoding_pass(passes: ForwardPasses, rows: TorchRowStates, state: DecodingState, length: int) -> Tensor:
    """Run one token a row, with keys below `length`, and draw: what `DecodingState.draw` gives."""
    if state.ids.device.type != "cpu":
        length = rows.base + -(-max(length - rows.base, 1) // KEY_STEP) * KEY_STEP
    hidden = passes.run(rows, state.ids, state.positions, length)
    return state.draw(passes.lm.logits(hidden[:, 0]))
