"""Array operations that NumPy, PyTorch and MLX do not name alike; `xp` is numpy, torch or mlx.core."""

from __future__ import annotations

from typing import Any, TypeAlias

#: numpy.ndarray, torch.Tensor or mlx.core.array.
Array: TypeAlias = Any


def stop_gradient(xp: Any, array: Array) -> Array:
    """The array as a constant of the gradient."""
    if hasattr(array, "detach"):
        return array.detach()
    return xp.stop_gradient(array) if hasattr(xp, "stop_gradient") else array


def clip(xp: Any, array: Array, low: float | None, high: float | None) -> Array:
    """The array within [low, high]; None is no bound."""
    if low is not None:
        array = xp.maximum(array, xp.ones_like(array) * low)
    if high is not None:
        array = xp.minimum(array, xp.ones_like(array) * high)
    return array


def indicator(xp: Any, condition: Array, like: Array) -> Array:
    """1 where the condition holds and 0 elsewhere, in the type of `like`."""
    return xp.where(condition, xp.ones_like(like), xp.zeros_like(like))


def masked_mean(xp: Any, values: Array, mask: Array) -> Array:
    """The mean of each row where the mask is 1, shape (N, 1); 0 for a row without any. `values` are 0 elsewhere."""
    count = xp.maximum(xp.sum(mask, axis=1, keepdims=True), xp.ones_like(mask[:, :1]))
    return xp.sum(values, axis=1, keepdims=True) / count


def sum_from_here(xp: Any, values: Array) -> Array:
    """The sum of this and all later positions of each row, shape (N, T).

    Added up in a fixed order by doubling, as CUDA's `cumsum` has none.
    """
    step = 1
    while step < values.shape[1]:
        values = values + xp.concatenate([values[:, step:], xp.zeros_like(values[:, :step])], axis=1)
        step *= 2
    return values


def sum_up_to_here(xp: Any, values: Array) -> Array:
    """The sum of this and all earlier positions of each row, shape (N, T), as `sum_from_here`."""
    step = 1
    while step < values.shape[1]:
        values = values + xp.concatenate([xp.zeros_like(values[:, :step]), values[:, :-step]], axis=1)
        step *= 2
    return values
