"""How many bytes the layers of a transformers model keep of a row whatever its length, seen by running a token."""

from __future__ import annotations

from typing import Any

import torch

from mentor_kit_torch.lm_wrapper import cache_argument
from mentor_kit_torch.row_states import TorchRowStates


@torch.no_grad()
def row_nbytes(model: Any, config: Any) -> int:
    """Bytes of a row's state that are the same whatever its length; 0 for layers that attend alone.

    Args:
        model: of transformers or peft; may be on the meta device, which computes nothing.
        config: the configuration of its text part.

    Raises:
        NotImplementedError: a layer keeps something that is not known.
        KeyError: transformers has no cache for a kind of layer.
    """
    states = TorchRowStates(config)
    if states.cuts:
        return 0
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    states.reserve(1, 1)
    token = torch.zeros(1, 1, dtype=torch.int64, device=next(inner.parameters()).device)
    states.aim_at(token, 1, fresh=token[0])
    inner(input_ids=token, use_cache=True, **{cache_argument(inner): states.cache})
    states.take_back()
    return states.nbytes - states.position_nbytes
