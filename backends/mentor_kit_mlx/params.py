"""MLX's trees of arrays as plain dictionaries by name, and such dictionaries in files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

Arrays = dict[str, mx.array]


def by_name(tree: Any) -> Arrays:
    """A tree's arrays, by dotted name."""
    found: Any = tree_flatten(tree)
    return dict(found)


def trained(model: Any) -> Arrays:
    """The parameters of a model that are trained, by name."""
    return by_name(model.trainable_parameters())


#: Parameters of mlx-lm's models that are buffers in transformers, which no update of a whole model changes there.
BUFFERS = ("layer_scalar", "e_score_correction_bias", "expert_bias")


def freeze_buffers(model: Any) -> None:
    """Have no update change what transformers has as buffers."""
    model.freeze(keys=list(BUFFERS))


def is_quantized(model: Any) -> bool:
    """Whether some of a model's layers have quantized weights."""
    return any(hasattr(module, "scales") and hasattr(module, "bits") for module in model.modules())


def parameter_count(model: Any) -> int:
    """How many parameters a model has, its adapter's included; quantized ones as many as they stand for."""
    found = sum(value.size for value in by_name(model.parameters()).values())
    for module in model.modules():
        if hasattr(module, "scales") and hasattr(module, "bits"):
            held = (module.weight, module.scales, module.get("biases"))
            found += module.weight.size * 32 // module.bits - sum(value.size for value in held if value is not None)
    return int(found)


def put(model: Any, arrays: Mapping[str, mx.array]) -> None:
    """Replace parameters, by name."""
    model.update(tree_unflatten(list(arrays.items())))


def read(path: Path) -> Arrays:
    """The arrays in a file of safetensors; they are read when they are needed.

    Raises:
        OSError, RuntimeError: there is no such file, or it is damaged.
    """
    found: Any = mx.load(str(path))
    return dict(found)


def read_format(folder: Path) -> str | None:
    """The format's name in a folder's weights, as `write` leaves it: `pt` for transformers, `mlx` for mlx-lm."""
    for file in sorted(folder.glob("model*.safetensors")):
        found: Any = mx.load(str(file), return_metadata=True)
        return str(found[1].get("format")) if "format" in found[1] else None
    return None


def read_now(path: Path) -> Arrays:
    """As `read`, with everything read now, so that a damaged file is found."""
    found = read(path)
    mx.eval(found)
    return found


def write(path: Path, arrays: Arrays, made_for: str = "mlx") -> None:
    """Write a file of safetensors; `made_for` is the format's name in it, which transformers asks for."""
    mx.save_safetensors(str(path), arrays, metadata={"format": made_for})
