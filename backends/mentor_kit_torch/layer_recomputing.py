"""Layers of transformers that are recomputed in the backward pass, of any kind that it can checkpoint.

Decoders of Llama's kind have a way of their own (`mentor_kit_torch.fused_llama`), which shares prefixes too. Here a
layer gets whole sequences: a cache would take in its tokens twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint


class LayerRecomputing:
    """A model's layers, and the switch by which transformers recomputes them.

    Args:
        decoder: of the model; None where it has none.
    """

    def __init__(self, decoder: Any) -> None:
        from transformers.modeling_layers import GradientCheckpointingLayer

        modules = () if decoder is None else decoder.modules()
        self._layers = [module for module in modules if isinstance(module, GradientCheckpointingLayer)]

    @property
    def works(self) -> bool:
        """Whether there is a layer that transformers can recompute."""
        return bool(self._layers)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Recompute the layers. What is inside of them stays in evaluation mode: no dropout of the model is active."""
        try:
            for layer in self._layers:
                layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
                layer.gradient_checkpointing = layer.training = True
            yield
        finally:
            for layer in self._layers:
                layer.gradient_checkpointing = layer.training = False
