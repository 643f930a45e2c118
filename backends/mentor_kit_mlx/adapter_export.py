"""Adapters that leave: for peft by transformers' names, and for mlx-lm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import mlx.core as mx

from mentor_kit.backend.peft_limits import peft_limit
from mentor_kit.backend.text_weights import inside_name, text_name
from mentor_kit.core.errors import BackendError
from mentor_kit_mlx import adapter_files, adapters
from mentor_kit_mlx.adapter_files import AdapterFile
from mentor_kit_mlx.embeddings import is_tied
from mentor_kit_mlx.known_form import SAME_NAMES, form_of, kind_of, own_config
from mentor_kit_mlx.loading import Loaded
from mentor_kit_mlx.params import trained
from mentor_kit_mlx.peft_layers import PeftLayers
from mentor_kit_mlx.transformers_config import is_loaded_whole
from mentor_kit_mlx.transformers_names import KNOWN, SCALED


def peft_layers(loaded: Loaded) -> PeftLayers:
    """The names of a model's layers in peft."""
    kind = kind_of(loaded)

    def factors(layers: Sequence[str]) -> Mapping[str, mx.array]:
        form = form_of(loaded) if kind in SCALED else None
        return {} if form is None else form.factors(layers)

    return PeftLayers(kind, factors)


def peft_fault(loaded: Loaded, adapter: AdapterFile) -> BackendError | None:
    """Why an adapter cannot be written for peft; None where it can."""
    if adapters.tables(loaded.model) and is_tied(loaded.model):
        return BackendError(
            "peft has no adapter that embeddings and a tied output projection share",
            hint="use the format `transformers`, `mlx` or `mlx-adapter`",
        )
    kind, names = kind_of(loaded), peft_layers(loaded)
    for layer in adapter.layers:
        if (limit := peft_limit(kind, names.place(layer).name)) is not None:
            return BackendError(
                f"peft has no adapter on {layer} of {kind!r}, {limit}",
                hint="use the format `mlx-adapter`, `mlx` or `transformers`, or `targets` without that layer",
            )
    if adapter.kind == "dora" and names.places(adapter.layers)[1]:
        return BackendError(
            f"peft has no DoRA on {names.places(adapter.layers)[1][0]}, which is a parameter in transformers",
            hint="use the format `mlx-adapter`, `mlx` or `transformers`",
        )
    if kind in KNOWN or loaded.config["model_type"] in SAME_NAMES:
        return None
    form = form_of(loaded)
    theirs = frozenset() if form is None else form.names()
    for layer in adapter.layers:
        place = names.place(layer)
        if place.is_parameter or f"{place.name}.weight" not in theirs:
            return BackendError(
                f"the name that transformers has for the layer {layer} of {kind!r} is not known",
                hint="use the format `mlx-adapter` or `mlx`",
            )
    return None


def mlx_adapter_fault(loaded: Loaded, adapter: AdapterFile) -> BackendError | None:
    """Why an adapter cannot be written for mlx-lm; None where it can."""
    if loaded.untied:
        return BackendError(
            "mlx-lm has no adapter on one of tied embeddings and output projection alone",
            hint="use the format `adapter`, `mlx` or `transformers`",
        )
    odd = [m.bits for m in loaded.model.modules() if hasattr(m, "scales") and hasattr(m, "bits") and 32 % m.bits]
    if adapter.kind == "dora" and odd:
        return BackendError(
            f"mlx-lm reads no adapter of DoRA on weights of {odd[0]} bits",
            hint="use the format `mlx` or `transformers`",
        )
    return None


def write_peft(loaded: Loaded, adapter: AdapterFile, folder: Path, base: str) -> None:
    """The adapter for peft, by the names of the model that transformers loads from the base."""
    names = peft_layers(loaded)
    weights, theirs = names.to_peft(trained(loaded.model), adapter)
    tables = [names.place(layer).name for layer in adapters.tables(loaded.model)]
    parameters = names.places(adapter.layers)[1]
    as_loaded = inside_name if is_loaded_whole(own_config(loaded.folder)) else text_name
    adapter_files.write_peft(
        {as_loaded(name): value for name, value in weights.items()},
        AdapterFile(theirs.kind, theirs.dropout, {as_loaded(name): pair for name, pair in theirs.layers.items()}),
        list(map(as_loaded, tables)),
        list(map(as_loaded, parameters)),
        folder,
        base,
    )


def write_mlx_adapter(loaded: Loaded, adapter: AdapterFile, folder: Path) -> None:
    """The adapter for mlx-lm."""
    adapter_files.write_mlx(trained(loaded.model), adapter, len(loaded.model.layers), folder)
