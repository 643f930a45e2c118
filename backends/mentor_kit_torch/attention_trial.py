"""The choice of attention's kernels when a student is loaded: each way is tried, and the first that is right is taken.

    trees of updates    flex, else in parts; with windows or soft caps flex, else not as trees
    parts               flash, efficient, else plain products

A trial compares outputs, log-sum-exps and gradients on small inputs with those of plain products in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mentor_kit.backend.folders import first_line
from mentor_kit.backend.microbatching import MicroBatch, micro_batches
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.core.errors import BackendError
from mentor_kit_torch import tree_attention
from mentor_kit_torch.attention import EVERYTHING, AttentionMasks, Reach
from mentor_kit_torch.attention_backend import PLAIN_SCORES, ScoreChanges
from mentor_kit_torch.cuda_kernels import CUDA_KERNELS
from mentor_kit_torch.device_copy import to_device
from mentor_kit_torch.kernels import PLAIN, PartInputs, PartKernels, bias_of
from mentor_kit_torch.params import dtype_name
from mentor_kit_torch.tree import Tree

logger = logging.getLogger("mentor_kit_torch")

#: The values of `backend.attention_kernels`.
AttentionKernels = Literal["auto", "flex", "flash", "efficient", "plain"]
#: The largest difference of a number from the right one, as a share of the largest number, by bytes of the type.
TOLERANCE = {4: 1e-3, 2: 2e-2}
#: The largest window of a trial, in positions, and its soft cap, which its scores come near to.
TRIED_REACH, TRIED_CAP = 40, 2.0

Heads = tuple[int, int, int]
"""Query heads, key heads, and their width."""
_Draw = Callable[..., Tensor]
"""A shape to random numbers."""
_Attend = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""Attention of packed queries to keys and values, by a scale."""


class _TriedPart(NamedTuple):
    causal: bool
    queries: int
    keys: int
    biased: bool


#: Of 64 queries no log-sum-exps are padded.
TRIED_PARTS = (
    _TriedPart(causal=True, queries=40, keys=40, biased=False),
    _TriedPart(causal=False, queries=64, keys=72, biased=False),
    _TriedPart(causal=False, queries=40, keys=37, biased=True),
)


@dataclass(frozen=True)
class AttentionWays:
    """The kernels of attention on a device."""

    parts: Mapping[torch.dtype, PartKernels] = field(default_factory=dict)
    """By the type of the states; others take what `mentor_kit_torch.kernels` has."""
    flex: frozenset[torch.dtype] = frozenset()
    """The types in which trees are done by FlexAttention."""

    def of(self, dtype: torch.dtype) -> PartKernels | None:
        """The kernels of parts for states of a type."""
        return self.parts.get(dtype)


@dataclass(frozen=True)
class AttentionForm:
    """What a model's attention has to do."""

    heads: tuple[Heads, ...]
    """Of its layers, each kind once."""
    reaches: tuple[Reach, ...] = (EVERYTHING,)
    """Of its layers."""
    capped: bool = False
    """Whether there is a soft cap on scores."""

    @staticmethod
    def of(config: Any, masks: AttentionMasks, heads: Sequence[Heads]) -> AttentionForm:
        """Of a model's text part."""
        capped = getattr(config, "attn_logit_softcapping", None) is not None
        return AttentionForm(tuple(heads), masks.reaches if masks.packs else (), capped)


def choose(
    name: AttentionKernels, device: torch.device, dtypes: Sequence[torch.dtype], form: AttentionForm
) -> AttentionWays:
    """The kernels for a model, by trials; a line says which they are.

    Args:
        name: the option: a way that must be right, or auto. On CPUs, and on MPS, auto takes what `kernels` has.
        device: the model's.
        dtypes: that it runs in, the student's own first.
        form: of its attention.

    Raises:
        BackendError: a way that was named does not run here, or gives something else.
    """
    if name == "plain":
        return AttentionWays(dict.fromkeys(dtypes, PLAIN))
    if name == "auto" and (device.type in ("cpu", "mps") or not form.heads):
        return AttentionWays()
    faults: dict[str, str] = {}
    parts: dict[torch.dtype, PartKernels] = {}
    if device.type not in ("cpu", "mps"):
        for dtype in dtypes:
            parts[dtype] = _first_right(name, device, dtype, form.heads, faults)
    flex = set(dtypes) if name in ("auto", "flex") and form.reaches else set()
    for dtype in tuple(flex):
        if fault := tree_fault(device, dtype, form):
            faults["flex"] = f"{fault} ({dtype_name(dtype)})"
            flex.remove(dtype)
    if dtypes and dtypes[0] not in flex:
        flex.clear()  # the student's own type, in which it is trained; self-checks alone are no use for it
    if name != "auto" and (fault := faults.get(name, "" if flex or parts else "it is for CUDA")):
        raise BackendError(
            f"backend.attention_kernels: {name} cannot be used on {device}: {fault}",
            hint="use `attention_kernels: auto`, which takes the first way that is right",
        )
    by_type = ", ".join(f"{kernels.name} ({dtype_name(dtype)})" for dtype, kernels in parts.items())
    trees = f"flex ({', '.join(dtype_name(dtype) for dtype in dtypes if dtype in flex)})" if flex else "parts"
    left_out = "".join(f"; not {way}: {fault}" for way, fault in faults.items())
    logger.info("attention on %s: trees by %s, parts by %s%s", device, trees, by_type, left_out)
    return AttentionWays(parts, frozenset(flex))


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
            for tried in TRIED_PARTS:
                found = _part(kernels, shape, device, dtype, tried)
                expected = _part(PLAIN, shape, device, torch.float32, tried, by=dtype)
                if not _near(found, expected, dtype):
                    return "its numbers are not those of plain products"
    except Exception as error:  # noqa: BLE001 (whatever it raises, it cannot be used)
        return f"{type(error).__name__}: {first_line(error)}"
    return ""


@cache
def tree_fault(device: torch.device, dtype: torch.dtype, form: AttentionForm) -> str:
    """What is wrong with trees by FlexAttention; empty if they are right."""
    if device.type not in ("cpu", "cuda"):
        return "PyTorch has no kernel of it there"
    # whatever the model's windows are, the trial's are such that it has tokens behind them
    reaches = [reach._replace(size=min(reach.size, TRIED_REACH)) for reach in form.reaches]
    changes = ScoreChanges(softcap=TRIED_CAP) if form.capped else PLAIN_SCORES
    try:
        trees = [to_device(Tree.of(batch, reaches), device) for batch in (_trial_batch(), _short_batch())]
        for tree, shape, reach in product(trees, form.heads, reaches):
            found = _of_tree(tree, shape, device, dtype, _by_flex(tree, reach, changes))
            expected = _of_tree(tree, shape, device, torch.float32, _by_products(tree, reach, changes), by=dtype)
            if not _near(found, expected, dtype):
                return "its numbers are not those of plain products"
    except Exception as error:  # noqa: BLE001 (whatever it raises, it cannot be used)
        return f"{type(error).__name__}: {first_line(error)}"
    return ""


def _by_flex(tree: Tree, reach: Reach, changes: ScoreChanges) -> _Attend:
    blocks = tree.blocks
    assert blocks is not None
    return lambda query, key, value, scale: blocks.attend(query, key, value, scale, reach, changes)


def _by_products(tree: Tree, reach: Reach, changes: ScoreChanges) -> _Attend:
    if reach == EVERYTHING and changes == PLAIN_SCORES:
        return lambda query, key, value, scale: tree_attention.attend(query, key, value, tree.layout, scale, PLAIN)
    # the definition, with all scores
    blocks = tree.blocks
    assert blocks is not None
    places = torch.arange(tree.ids.shape[1], device=tree.ids.device)
    shown = (places <= places[:, None]) & (places[:, None] < blocks.stops)
    shown &= reach.shows(tree.positions[0][:, None], tree.positions[0])

    def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        key, value = (part.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for part in (key, value))
        scores = query @ key.transpose(-1, -2) * scale
        if changes.softcap is not None:
            scores = torch.tanh(scores / changes.softcap) * changes.softcap
        return torch.softmax(scores.masked_fill(~shown, -torch.inf), dim=-1) @ value

    return attend


def _part(
    kernels: PartKernels,
    shape: Heads,
    device: torch.device,
    dtype: torch.dtype,
    tried: _TriedPart,
    by: torch.dtype | None = None,
) -> list[Tensor]:
    """Out, log-sum-exps and gradients of a part beside another one; inputs are rounded to the type `by`."""
    heads, own, width = shape
    causal, queries, keys, biased = tried
    numbers = _numbers(device, by or dtype, dtype)
    query, grad, other = (next(numbers)(2, heads, queries, width) for _ in range(3))
    key, value = (next(numbers)(2, own, keys, width) for _ in range(2))
    places = torch.arange(queries * keys, device=device).view(1, 1, queries, keys)
    bias = bias_of((places % 7 > 0).expand(2, -1, -1, -1), dtype) if biased else None
    part = PartInputs(query, key, value, width**-0.5, causal, bias)
    out, lse = kernels.attend(part)
    # as if as much weight again were elsewhere; heads of log-sum-exps lie beside each other, as merged ones may
    merged = (out + other) / 2, (lse + float(np.log(2))).transpose(1, 2).contiguous().transpose(1, 2)
    return [out, lse, *kernels.gradients(grad, part, merged)]


def _of_tree(
    tree: Tree,
    shape: Heads,
    device: torch.device,
    dtype: torch.dtype,
    attend: _Attend,
    by: torch.dtype | None = None,
) -> list[Tensor]:
    """Output and gradients of attention along a tree."""
    heads, own, width = shape
    length = tree.ids.shape[1]
    numbers = _numbers(device, by or dtype, dtype)
    grad = next(numbers)(1, heads, length, width)
    states = [next(numbers)(1, count, length, width).requires_grad_() for count in (heads, own, own)]
    with torch.enable_grad():
        out = attend(states[0], states[1], states[2], width**-0.5)
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
    several = (_completion(20, 30), _completion(20, 3), _completion(150), _completion(5), _completion(1, 140, 7))
    prompts = (np.arange(170) % 7, np.concatenate([np.arange(150) % 7, np.full(131, 3)]))
    (batch,) = micro_batches([TokenGroup(prompt, several) for prompt in prompts], 1 << 20, packed=True)
    return batch


def _short_batch() -> MicroBatch:
    """All in less than a block, for which PyTorch compiles another kernel."""
    (batch,) = micro_batches([TokenGroup(np.arange(60) % 7, (_completion(20), _completion(21)))], 1 << 20, packed=True)
    return batch


def _completion(*lengths: int) -> TokenCompletion:
    ids = np.concatenate([np.full(length, place + length % 5) for place, length in enumerate(lengths)])
    return TokenCompletion(ids, np.ones(len(ids), np.float32), -np.ones(len(ids), np.float32))
