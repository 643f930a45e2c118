"""The trained parameters of a model as tensors by name, and such tensors in files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Tensors = dict[str, Tensor]


def dtype_name(dtype: torch.dtype) -> str:
    """A type of numbers as options and reports name it."""
    return str(dtype).removeprefix("torch.")


def trained(model: Any) -> Tensors:
    """The parameters that are trained, by name, tied ones once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def put(model: Any, weights: Mapping[str, Tensor]) -> None:
    """Copy values into parameters, by name."""
    parameters = dict(model.named_parameters())
    for name, value in weights.items():
        parameters[name].copy_(value)


@torch.no_grad()
def placed_alike(model: Any, weights: Mapping[str, Tensor]) -> Tensors:
    """Weights on the device of the model's own and in their memory layout, since another layout rounds otherwise."""
    parameters = dict(model.named_parameters())
    return {name: torch.empty_like(parameters[name], requires_grad=False).copy_(w) for name, w in weights.items()}


@contextmanager
def swapped(model: Any, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Run a model with other values in the named parameters; no gradients may be pending across it."""
    parameters = dict(model.named_parameters())
    kept = {name: parameters[name].data for name in weights}
    try:
        for name, value in weights.items():
            parameters[name].data = value
        yield
    finally:
        for name, value in kept.items():
            parameters[name].data = value


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a file of safetensors."""
    save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, path)


def read(path: Path) -> Tensors:
    """Read a file of safetensors, on the CPU.

    Raises:
        OSError, SafetensorError: it is not there, or damaged.
    """
    found: Tensors = load_file(path)
    return found
