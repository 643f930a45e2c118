"""AdamW whose moments have 8 bits, by bitsandbytes; imported only where it is used, as bitsandbytes is.

Moments are kept in blocks of 256 numbers with a scale each, in one byte a number (Dettmers et al., arXiv 2110.02861).
Weights, masters and gradients stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from bitsandbytes.optim import AdamW8bit
from torch import Tensor

from mentor_kit.backend.optimizer import EIGHT_BIT_SIZE, OptimizerSpec
from mentor_kit.core.errors import BackendError


class EightBitAdamW(AdamW8bit):  # type: ignore[misc]
    """`bitsandbytes.optim.AdamW8bit`, whose state can be read and put as tensors.

    Raises:
        BackendError: the parameters are on a device that bitsandbytes has no kernels for.
    """

    def __init__(self, parameters: list[Tensor], spec: OptimizerSpec) -> None:
        device = parameters[0].device.type
        if device == "mps":
            raise BackendError(
                f"bitsandbytes has no optimizer on {device}", hint="leave the optimizer's `bits` out, or use mlx"
            )
        super().__init__(
            parameters,
            lr=0.0,
            betas=spec.betas,
            eps=spec.eps,
            weight_decay=spec.weight_decay,
            min_8bit_size=EIGHT_BIT_SIZE,
        )

    def init_state(self, group: dict[str, Any], p: Tensor, gindex: int, pindex: int) -> None:
        # blocks are of numbers as they lie in memory, which a step makes row by row
        p.data = p.data.contiguous()
        super().init_state(group, p, gindex, pindex)

    def arrays(self, parameter: Tensor) -> dict[str, Tensor]:
        """What is kept of a parameter, by kind, its number of steps included."""
        return {kind: torch.as_tensor(value) for kind, value in self._state(parameter).items()}

    def load_arrays(self, parameter: Tensor, arrays: Mapping[str, Tensor]) -> None:
        """Put what `arrays` gave."""
        state = self._state(parameter)
        for kind, value in state.items():
            if isinstance(value, Tensor):
                value.copy_(arrays[kind])
            else:
                state[kind] = int(arrays[kind])

    def _state(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            (group,) = self.param_groups
            place = next(place for place, each in enumerate(group["params"]) if each is parameter)
            self.init_state(group, parameter, 0, place)
        return state
