"""The choice of attention's kernels when a student is loaded: each way is tried, and the first that is right is taken.

    trees of updates    flex, else in parts
    parts               flash, efficient, else plain products

A trial compares outputs, log-sum-exps and gradients on small inputs with those of plain products in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mentor_kit.backend.folders import first_line
from mentor_kit.backend.microbatching import MicroBatch, micro_batches
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.core.errors import BackendError
from mentor_kit_torch import tree_attention
from mentor_kit_torch.cuda_kernels import CUDA_KERNELS
from mentor_kit_torch.device_copy import to_device
from mentor_kit_torch.kernels import PLAIN, PartInputs, PartKernels, bias_of
from mentor_kit_torch.tree import Tree

logger = logging.getLogger("mentor_kit_torch")

#: The values of `backend.attention_kernels`.
AttentionKernels = Literal["auto", "flex", "flash", "efficient", "plain"]
#: The largest difference of a number from the right one, as a share of the largest number, by bytes of the type.
TOLERANCE = {4: 1e-3, 2: 2e-2}

Heads = tuple[int, int, int]
"""Query heads, key heads, and their width."""
_Draw = Callable[..., Tensor]
"""A shape to random numbers."""


@dataclass(frozen=True)
class AttentionWays:
    """The kernels of attention on a device."""

    parts: Mapping[torch.dtype, PartKernels] = field(default_factory=dict)
    """By the type of the states; others take what `mentor_kit_torch.kernels` has."""
    flex: bool = False
    """Whether trees are done by FlexAttention."""

    def of(self, dtype: torch.dtype) -> PartKernels | None:
        """The kernels of parts for states of a type."""
        return self.parts.get(dtype)


def choose(
    name: AttentionKernels, device: torch.device, dtypes: Sequence[torch.dtype], heads: Sequence[Heads]
) -> AttentionWays:
    """The kernels for a model, by trials; a line says which they are.

    Args:
        name: the option: a way that must be right, or auto. On CPUs, and on MPS, auto takes what `kernels` has.
        device: the model's.
        dtypes: that it runs in.
        heads: of its layers, each kind once.

    Raises:
        BackendError: a way that was named does not run here, or gives something else.
    """
    if name == "plain":
        return AttentionWays(dict.fromkeys(dtypes, PLAIN))
    if name == "auto" and (device.type in ("cpu", "mps") or not heads):
        return AttentionWays()
    faults: dict[str, str] = {}
    parts: dict[torch.dtype, PartKernels] = {}
    if device.type not in ("cpu", "mps"):
        for dtype in dtypes:
            parts[dtype] = _first_right(name, device, dtype, heads, faults)
    is_flex = name in ("auto", "flex")
    if is_flex and (fault := tree_fault(device, tuple(dtypes), tuple(heads))):
        faults["flex"], is_flex = fault, False
    if name != "auto" and (fault := faults.get(name, "" if is_flex or parts else "it is for CUDA")):
        raise BackendError(
            f"backend.attention_kernels: {name} cannot be used on {device}: {fault}",
            hint="use `attention_kernels: auto`, which takes the first way that is right",
        )
    by_type = ", ".join(f"{kernels.name} ({str(dtype).removeprefix('torch.')})" for dtype, kernels in parts.items())
    left_out = "".join(f"; not {way}: {fault}" for way, fault in faults.items())
    logger.info(
        "attention on %s: trees by %s, parts by %s%s", device, "flex" if is_flex else "parts", by_type, left_out
    )
    return AttentionWays(parts, is_flex)


def _first_right(
    name: str, device: torch.device, dtype: torch.dtype, heads: Sequence[Heads], faults: dict[str, str]
) -> PartKernels:
    """The first kernels that are right, those that are named before all others; what is wrong goes to `faults`."""
    for way, kernels in CUDA_KERNELS.items():
        if way == "flash" and (dtype.itemsize == 4 or name == "efficient"):
            continue
        if not (fault := part_fault(way, device, dtype, tuple(heads))):
            return kernels
        faults[way] = fault
    return PLAIN


@cache
def part_fault(way: str, device: torch.device, dtype: torch.dtype, heads: tuple[Heads, ...]) -> str:
    """What is wrong with a way of `CUDA_KERNELS`; empty if it is right."""
    kernels = CUDA_KERNELS[way]
    try:
        for shape in heads:
            for causal, keys, biased in ((True, 40, False), (False, 72, False), (False, 37, True)):
                found = _part(kernels, shape, device, dtype, causal=causal, keys=keys, biased=biased)
                expected = _part(PLAIN, shape, device, torch.float32, causal=causal, keys=keys, biased=biased, by=dtype)
                if not _near(found, expected, dtype):
                    return "its numbers are not those of plain products"
    except Exception as error:  # noqa: BLE001 (whatever it raises, it cannot be used)
        return f"{type(error).__name__}: {first_line(error)}"
    return ""


@cache
def tree_fault(device: torch.device, dtypes: tuple[torch.dtype, ...], heads: tuple[Heads, ...]) -> str:
    """What is wrong with trees by FlexAttention; empty if they are right."""
    if device.type not in ("cpu", "cuda"):
        return "PyTorch has no kernel of it there"
    try:
        tree = to_device(Tree.of(_trial_batch(), blocks=True), device)
        for dtype in dtypes:
            for shape in heads:
                found = _of_tree(tree, shape, device, dtype, by_flex=True)
                expected = _of_tree(tree, shape, device, torch.float32, by_flex=False, by=dtype)
                if not _near(found, expected, dtype):
                    return "its numbers are not those of plain products"
    except Exception as error:  # noqa: BLE001 (whatever it raises, it cannot be used)
        return f"{type(error).__name__}: {first_line(error)}"
    return ""


def _part(
    kernels: PartKernels,
    shape: Heads,
    device: torch.device,
    dtype: torch.dtype,
    *,
    causal: bool,
    keys: int,
    biased: bool,
    by: torch.dtype | None = None,
) -> list[Tensor]:
    """Out, log-sum-exps and gradients of a part beside another one; inputs are rounded to the type `by`."""
    heads, own, width = shape
    queries = 40
    numbers = _numbers(device, by or dtype, dtype)
    query, grad, other = (next(numbers)(2, heads, queries, width) for _ in range(3))
    key, value = (next(numbers)(2, own, keys, width) for _ in range(2))
    places = torch.arange(queries * keys, device=device).view(1, 1, queries, keys)
    bias = bias_of((places % 7 > 0).expand(2, -1, -1, -1), dtype) if biased else None
    part = PartInputs(query, key, value, width**-0.5, causal, bias)
    out, lse = kernels.attend(part)
    # as if as much weight again were elsewhere
    merged = (out + other) / 2, lse + float(np.log(2))
    return [out, lse, *kernels.gradients(grad, part, merged)]


def _of_tree(
    tree: Tree, shape: Heads, device: torch.device, dtype: torch.dtype, *, by_flex: bool, by: torch.dtype | None = None
) -> list[Tensor]:
    """Output and gradients of attention along a tree."""
    heads, own, width = shape
    length = tree.ids.shape[1]
    numbers = _numbers(device, by or dtype, dtype)
    grad = next(numbers)(1, heads, length, width)
    states = [next(numbers)(1, count, length, width).requires_grad_() for count in (heads, own, own)]
    query, key, value = states
    if by_flex:
        assert tree.blocks is not None
        out = tree.blocks.attend(query, key, value, width**-0.5)
    else:
        out = tree_attention.attend(query, key, value, tree.layout, width**-0.5, PLAIN)
    return [out, *torch.autograd.grad(out, states, grad)]


def _numbers(device: torch.device, by: torch.dtype, dtype: torch.dtype) -> Iterator[_Draw]:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield lambda *shape: torch.randn(*shape, generator=generator).to(by).to(dtype).to(device)


def _near(found: Sequence[Tensor], expected: Sequence[Tensor], dtype: torch.dtype) -> bool:
    tolerance = TOLERANCE[dtype.itemsize]
    return all(
        float((one.detach().float() - two.detach()).abs().max()) <= tolerance * float(two.detach().abs().max())
        for one, two in zip(found, expected, strict=True)
    )


def _trial_batch() -> MicroBatch:
    """Prompts and completions whose nodes are shorter and longer than a block, with prefixes of their own."""

    def completion(*lengths: int) -> TokenCompletion:
        ids = np.concatenate([np.full(length, place + length % 5) for place, length in enumerate(lengths)])
        return TokenCompletion(ids, np.ones(len(ids), np.float32), -np.ones(len(ids), np.float32))

    several = (completion(20, 30), completion(20, 3), completion(150), completion(5), completion(1, 140, 7))
    prompts = (np.arange(170) % 7, np.concatenate([np.arange(150) % 7, np.full(131, 3)]))
    (batch,) = micro_batches([TokenGroup(prompt, several) for prompt in prompts], 1 << 20, packed=True)
    return batch
