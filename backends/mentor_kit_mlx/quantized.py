"""Quantization of keys and values in sampling; MLX is imported when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mlx.core as mx


@dataclass(frozen=True)
class Quantized:
    """Each `group` numbers of a head's key or value share a scale and an offset."""

    bits: int
    group: int

    def encode(self, values: mx.array) -> tuple[mx.array, ...]:
        """(…, width) as packed integers, scales and offsets, each (…, less).

        Raises:
            ValueError: the width is no multiple of the group.
        """
        import mlx.core as mx

        return tuple(mx.quantize(values, group_size=self.group, bits=self.bits))

    def bytes(self, width: int, size: int) -> int:
        """Bytes of `width` numbers of `size` bytes: their bits, and two of those numbers for each group."""
        return width * self.bits // 8 + 2 * size * width // self.group
