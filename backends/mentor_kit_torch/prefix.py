"""A beginning that all rows share: its keys and values are kept once, and attended to beside each row's own."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from mentor_kit_torch import kernels
from mentor_kit_torch.attending import fold, unfold
from mentor_kit_torch.cache import SlotCache


@dataclass(frozen=True)
class Prefix:
    """A `mentor_kit_torch.attending.Plan`: two parts of attention, merged."""

    cache: SlotCache
    """Holds the beginning in its first row."""
    length: int
    _bias: list[Tensor] = field(default_factory=list, init=False)
    """What the rows' mask comes to, as it is the same for all layers of a pass."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        """As `Plan.attend`; the mask (n, 1, T, L) is about the rows' own keys and values."""
        assert mask is not None
        held, heads = self.cache.layers[layer], key.shape[1]
        begin = held.keys[:1, :, : self.length], held.values[:1, :, : self.length]
        common, common_lse = kernels.attend(fold(query, heads), *begin, scale)
        # the query heads of a key's stand below each other, so that keys are read once
        if not self._bias:
            self._bias.append(kernels.bias_of(mask.repeat(1, 1, query.shape[1] // heads, 1), query.dtype))
        grouped = query.reshape(len(query), heads, -1, query.shape[-1])
        own, own_lse = kernels.attend(grouped, key, value, scale, bias=self._bias[0])
        parts = [
            (own.reshape(query.shape), own_lse.reshape(query.shape[:3])),
            (unfold(common, query.shape), unfold(common_lse, query.shape)),
        ]
        return kernels.merge(parts)[0]
