"""Self-checks of a model in PyTorch: trial tokens, comparison, and weights that are widened meanwhile.

See `mentor_kit.backend.self_check`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mentor_kit.backend import self_check
from mentor_kit_torch.lm_wrapper import TorchLMWrapper


def trial_tokens(lm: TorchLMWrapper) -> tuple[Tensor, Tensor]:
    """Tokens (2, 5) to run, and their positions."""
    ids = torch.from_numpy(self_check.trial_ids(lm.vocabulary)).to(lm.device)
    return ids, torch.arange(5, device=lm.device).expand(2, 5)


def agree(lm: TorchLMWrapper, found: Tensor, expected: Tensor) -> bool:
    """Whether two ways of running a model gave the same, up to rounding in its type."""
    first, second = (values.float().cpu().numpy() for values in (found, expected))
    return self_check.agree(first, second, exact=lm.dtype == torch.float32)


@contextmanager
def exact(lm: TorchLMWrapper) -> Iterator[None]:
    """Run a model of 16 bits in float32, each layer widened while it runs.

    Models with weights that are no floating-point numbers stay as they are, and so do those whose layers are not known.
    """
    own, layers = lm.dtype, _layers(lm)
    if own == torch.float32 or layers is None or not all(p.is_floating_point() for p in lm.model.parameters()):
        yield
        return
    tensors = list(_tensors(lm.model.modules()))
    kept = [(tensor, tensor.data) for tensor in tensors]
    inside = {id(tensor) for tensor in _tensors(layers.modules())}
    try:
        lm.decoder.layers = _OneByOne(list(layers))
        _widen(tensor for tensor in tensors if id(tensor) not in inside)
        lm.dtype = torch.float32
        yield
    finally:
        lm.dtype = own
        for tensor, data in kept:
            tensor.data = data
        lm.decoder.layers = layers


@contextmanager
def shallow(lm: TorchLMWrapper, layers: int = 2) -> Iterator[None]:
    """Run a model's first layers alone, so that rounding hardly grows."""
    whole = lm.decoder.layers
    lm.decoder.layers = whole[:layers]
    try:
        yield
    finally:
        lm.decoder.layers = whole


class _OneByOne(nn.ModuleList):
    """Layers that are widened while they run; one taken by its number stays wide."""

    def __iter__(self) -> Iterator[nn.Module]:
        for layer in self._modules.values():
            assert layer is not None
            narrow = [(tensor, tensor.data) for tensor in _tensors(layer.modules())]
            _widen(tensor for tensor, _ in narrow)
            yield layer
            for tensor, data in narrow:
                tensor.data = data

    def __getitem__(self, place: Any) -> Any:
        layers = list(self._modules.values())
        if isinstance(place, slice):
            return _OneByOne([layer for layer in layers[place] if layer is not None])
        layer = layers[place]
        assert layer is not None
        _widen(_tensors(layer.modules()))
        return layer


def _layers(lm: TorchLMWrapper) -> nn.ModuleList | None:
    layers = getattr(lm.decoder, "layers", None)
    return layers if isinstance(layers, nn.ModuleList) else None


def _tensors(modules: Iterable[Any]) -> Iterator[Tensor]:
    """Parameters and buffers of modules."""
    for module in modules:
        yield from module.parameters(recurse=False)
        yield from module.buffers(recurse=False)


def _widen(tensors: Iterable[Tensor]) -> None:
    for tensor in tensors:
        if tensor.is_floating_point():
            tensor.data = tensor.data.float()
