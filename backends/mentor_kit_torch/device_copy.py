"""Copies of a micro-batch's arrays to a device: all of them in one, which the CPU does not wait for.

    tensors on the CPU ──> one buffer of pinned memory ──one copy──> one buffer on the device ──> views of it

A copy of few bytes costs a GPU's driver as much as one of many, and one from memory that is not pinned keeps the CPU
waiting until all work before it is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")

#: Where a tensor may begin in a buffer, in bytes: CUDA's widest loads need no more.
ALIGNMENT = 16


def to_device(value: Value, device: torch.device) -> Value:
    """The same value with its tensors, which are on the CPU, on a device.

    Args:
        value: a tensor, or dataclasses, tuples, lists and dictionaries with tensors in them; everything else stays.
        device: on the CPU the value itself is returned.
    """
    if device.type == "cpu":
        return value
    tensors = list(_tensors(value))
    # views of another type are not to be trusted on MPS
    moved = [each.to(device) for each in tensors] if device.type == "mps" else _in_one_copy(tensors, device)
    found: Value = _rebuilt(value, iter(moved))
    return found


def _in_one_copy(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    starts, end = [], 0
    for tensor in tensors:
        starts.append(end)
        end += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
    buffer = torch.empty(end, dtype=torch.uint8, pin_memory=device.type == "cuda")
    for start, tensor in zip(starts, tensors, strict=True):
        _view(buffer, start, tensor).copy_(tensor)
    # the allocator keeps pinned memory until the copy is done
    moved = buffer.to(device, non_blocking=True)
    return [_view(moved, start, tensor) for start, tensor in zip(starts, tensors, strict=True)]


def _view(buffer: Tensor, start: int, like: Tensor) -> Tensor:
    """The bytes of a buffer from `start` on, in the type and shape of a tensor."""
    return buffer[start : start + like.nbytes].view(like.dtype).view(like.shape)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    else:
        for part in _parts(value):
            yield from _tensors(part)


def _parts(value: Any) -> list[Any]:
    """What a value is made of; nothing where it holds no tensors."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, tuple | list):
        return list(value)
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value) if field.init]
    return []


def _rebuilt(value: Any, moved: Iterator[Tensor]) -> Any:
    """The value with its tensors replaced, in the order of `_tensors`."""
    if isinstance(value, Tensor):
        return next(moved)
    parts = [_rebuilt(part, moved) for part in _parts(value)]
    if isinstance(value, dict):
        return dict(zip(value, parts, strict=True))
    if isinstance(value, tuple | list):
        return type(value)(parts)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value) if field.init]
        return replace(value, **dict(zip(names, parts, strict=True)))
    return value
