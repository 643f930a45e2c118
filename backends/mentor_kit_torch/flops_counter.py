"""A counter of a model's work, and the limits of its device: for `mentorkit bench`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mentor_kit.backend.flops import MachineLimits, Work
from mentor_kit_torch.attention import UNMASKED
from mentor_kit_torch.quantized import parameter_count

#: How long each of a machine's limits is measured, in seconds.
MEASURED_SECONDS = 0.4
#: Calls on a device that are timed at once.
CALLS = 8
#: Kinds of work that end when what they computed is read: their time is known without another wait for the device.
READ = frozenset(("prefill", "decode"))


class FlopsCounter:
    """Counts seconds, tokens, floating-point operations and bytes by kind of work.

    Products are those of matrices: two a weight and token, and four a layer, query head, head's width and pair of
    query and key; backward passes count as much again for what flows through, and for the weights that are trained.

    Args:
        model: with its parameters.
        config: of its text part.
        vocabulary: the weights of the output projection are this times the hidden width.
    """

    def __init__(self, model: Any, config: Any, vocabulary: int) -> None:
        first = next(model.parameters())
        self._device, self._size = first.device, first.element_size()
        total, stored = parameter_count(model), sum(parameter.nbytes for parameter in model.parameters())
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        width = int(getattr(config, "hidden_size", 0))
        self._head = vocabulary * width
        embedding = 0 if getattr(config, "tie_word_embeddings", False) else self._head
        self._body = max(total - self._head - embedding, 0)
        self._body_bytes = max(stored - (self._head + embedding) * self._size, 0)
        self._backward = 1.0 + trained / max(total, 1)
        shapes = attention_shapes(config)
        self._pair = 4 * sum(heads * width for heads, _, width in shapes)
        self._position = 2 * sum(keyed * width for _, keyed, width in shapes) * self._size
        self._kind = ""
        self._done: defaultdict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    @contextmanager
    def on(self, kind: str) -> Iterator[None]:
        """Count work as of this kind."""
        before, self._kind = self._kind, kind
        started = time.perf_counter()
        try:
            yield
        finally:
            if kind not in READ:
                self._synchronize()
            self._done[kind]["seconds"] += time.perf_counter() - started
            self._kind = before

    @contextmanager
    def off(self) -> Iterator[None]:
        """Count no work but its time."""
        before, self._kind = self._kind, ""
        try:
            yield
        finally:
            self._kind = before

    def ran(self, tokens: int, *, pairs: int = 0, keys: int = 0) -> None:
        """Count a pass of so many tokens, with so many pairs of query and key, and so many stored keys read."""
        if not self._kind:
            return
        done = self._done[self._kind]
        done["tokens"] += tokens
        done["flops"] += (2.0 * self._body * tokens + self._pair * pairs) * self._factor
        done["bytes"] += self._body_bytes * self._factor + keys * self._position

    def projected(self, positions: int) -> None:
        """Count logits at so many positions."""
        if not self._kind:
            return
        done = self._done[self._kind]
        done["flops"] += 2.0 * self._head * positions * self._factor
        done["bytes"] += self._head * self._size * self._factor

    def work(self) -> dict[str, Work]:
        """All work so far, by kind."""
        return {
            kind: Work(seconds=done["seconds"], tokens=int(done["tokens"]), flops=done["flops"], bytes=done["bytes"])
            for kind, done in self._done.items()
        }

    @property
    def _factor(self) -> float:
        return 1.0 + (self._backward if torch.is_grad_enabled() else 0.0)

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def layer_configs(config: Any) -> list[Any]:
    """A configuration for every layer: those of transformers where layers differ (Gemma 4), else the model's."""
    if getattr(config, "is_heterogeneous", False):
        return list(config.per_layer_config)
    return [config] * int(config.num_hidden_layers)


def attention_shapes(config: Any) -> list[tuple[int, int, int]]:
    """Each layer's heads, those of its own keys and values, and a head's width; zeros where it does not attend."""
    found = []
    for layer, (attends, keeps) in zip(layer_configs(config), _attention(config), strict=True):
        heads = int(getattr(layer, "num_attention_heads", None) or 0) if attends else 0
        keyed = int(getattr(layer, "num_key_value_heads", None) or heads) if keeps else 0
        width = getattr(layer, "head_dim", None) or (int(layer.hidden_size) // heads if heads else 0)
        found.append((heads, keyed, int(width)) if heads else (0, 0, 0))
    return found


def _attention(config: Any) -> list[tuple[bool, bool]]:
    """Whether each layer attends, and whether it does so to keys and values of its own."""
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * int(config.num_hidden_layers)
    sharing = getattr(config, "kv_sharing_modes", None) or [None] * len(kinds)
    return [(kind not in UNMASKED, mode != "reuse") for kind, mode in zip(kinds, sharing, strict=True)]


def limits(device: torch.device, dtype: torch.dtype) -> MachineLimits:
    """The best rates of a large matrix product and of a large copy."""
    width, copied = (8192, 1 << 28) if device.type == "cuda" else (1024, 1 << 24)
    # numbers as they come: a GPU takes less power for products of equal ones, and runs faster
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(width, width, device=device, generator=generator).to(dtype) for _ in range(2))
    source = torch.ones(copied, device=device)
    target = torch.empty_like(source)
    product = _shortest(lambda: left @ right, device)
    copy = _shortest(lambda: target.copy_(source), device)
    return MachineLimits(flops=2.0 * width**3 / product, bandwidth=2.0 * source.nbytes / copy)


def peak_memory(device: torch.device) -> int | None:
    """The most bytes that were taken of a CUDA device; None elsewhere."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else None


def _shortest(work: Callable[[], Tensor], device: torch.device) -> float:
    """The shortest time of one call, in seconds, of those that are made one after the other for a while.

    Calls on a device are timed a few at once, as it is told of the next ones while it works.
    """
    calls = 1 if device.type == "cpu" else CALLS
    found, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < MEASURED_SECONDS or found == float("inf"):
        started = time.perf_counter()
        for _ in range(calls):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        found = min(found, (time.perf_counter() - started) / calls)
    return found
