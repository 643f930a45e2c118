"""Layers on which peft has no adapter: it refuses one, or one would do nothing.

peft adds a low-rank pair where a layer is run. transformers does not run some layers, but reads their weights:

    layer(x) = W·x + scale·B·A·x          layer.weight @ x = W·x

Seen with peft 0.21.2 and transformers 5.24.0: an adapter there gets no gradient, and one that was trained elsewhere is
left out without a word, while it is in the weights that peft merges.
"""

from __future__ import annotations

from mentor_kit.core.errors import BackendError

#: By transformers' type of the model: names of linear layers whose weights it reads without running them.
READ = {"falcon_mamba": ("dt_proj",), "jamba": ("dt_proj",), "mamba": ("dt_proj",)}
#: Convolutions of recurrent and convolutional layers, which transformers hands to kernels as weights, in all models.
CONVOLUTIONS = ("conv1d", "conv.conv")
#: Types of models on whose output projections peft refuses an adapter, as fused kernels read their weights.
REFUSED_OUTPUTS = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")


def peft_limit(kind: str, layer: str) -> str | None:
    """Why peft has no adapter that works on a layer; None where it has.

    Args:
        kind: the type of the model of text, as transformers calls it.
        layer: its full name.
    """
    last = layer.rpartition(".")[2]
    if last in READ.get(kind, ()) or any(f".{layer}".endswith(f".{name}") for name in CONVOLUTIONS):
        return "whose weights transformers reads without running it: an adapter there would do nothing"
    if kind in REFUSED_OUTPUTS and last == "out_proj":
        return "whose weights kernels read by themselves"
    return None


def without_effect(folder: object, layer: str, limit: str) -> BackendError:
    """The error for an adapter of peft that was trained on a layer where peft does not add it."""
    return BackendError(
        f"student.adapter: {folder} has trained weights on {layer}, {limit}",
        hint="peft computes without them, but merges them: train that adapter anew without this layer",
    )
