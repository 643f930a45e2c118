"""Where an adapter's layers are in transformers: peft's names for mlx-lm's, and low-rank pairs in peft's form.

transformers 5 keeps all experts of a layer in two parameters, gate and up projection in one, and its routers are
parameters too. peft has pairs on parameters (`target_parameters`). One on a fused weight stands for two of mlx-lm's:

    gate: s·B₁A₁, up: s·B₂A₂   →   [gate; up]: s·[[B₁, 0], [0, B₂]]·[A₁; A₂]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import mlx.core as mx

from mentor_kit.backend.text_weights import text_name
from mentor_kit_mlx.adapter_files import AdapterFile, LowRank
from mentor_kit_mlx.params import Arrays

#: Types of models whose experts have the outputs of gate and up projection in turn.
_IN_TURN = ("gpt_oss",)
#: Experts that are stacked in mlx-lm: what holds them, and the projection.
_STACKED = re.compile(r"(.+?)\.(?:experts\.)?(?:switch_mlp|switch_glu|experts)\.(gate|up|down)_proj")
#: Layers of mlx-lm's that transformers calls otherwise: by type of model, a pattern and the name.
_RENAMED: dict[str, tuple[tuple[str, str], ...]] = {
    "lfm2_moe": (
        (r"(.+\.feed_forward)\.gate_proj", r"\1.w1"),
        (r"(.+\.feed_forward)\.up_proj", r"\1.w3"),
        (r"(.+\.feed_forward)\.down_proj", r"\1.w2"),
    ),
    "mixtral": ((r"(.+)\.block_sparse_moe\.(.+)", r"\1.mlp.\2"),),
    "nemotron_h": ((r"backbone\.(.+)", r"model.\1"),),
}
#: Routers that are a parameter in transformers: by type of model, a pattern of mlx-lm's name and the parameter's.
_GATE = (r"(.+\.(?:mlp|feed_forward))\.gate", r"\1.gate.weight")
_ROUTER = (r"(.+)\.router(?:\.layer)?", r"\1.router.weight")
_ROUTERS = {
    "gpt_oss": _ROUTER,
    "granitemoe": _ROUTER,
    "granitemoehybrid": _ROUTER,
    "lfm2_moe": _GATE,
    "llama4_text": _ROUTER,
    "mixtral": _GATE,
    "olmoe": _GATE,
    "qwen2_moe": _GATE,
    "qwen3_5_moe_text": _GATE,
    "qwen3_moe": _GATE,
    "qwen3_next": _GATE,
}
#: Types of models that have the inputs of experts before their outputs, which peft takes for the reverse.
_TAKEN_FOR_TURNED = ("llama4_text",)
#: Types of models of which peft takes every target of these names for one of the experts that earlier versions had.
_TAKEN_FOR_EXPERTS = ("deepseek_v3", "ernie4_5_moe", "glm4_moe", "olmoe", "qwen2_moe", "qwen3_moe", "qwen3_next")
_EXPERT_NAMES = (".gate_proj", ".up_proj", ".down_proj")
#: Layers without experts whose gate and up projection are one in transformers, of this type.
_SHARED = ("granitemoehybrid", re.compile(r"(.+)\.mlp\.(gate|up|down)_proj"))


@dataclass(frozen=True)
class PeftPlace:
    """A layer of mlx-lm's in transformers."""

    name: str
    """Of the module, or of the parameter."""
    is_parameter: bool = False
    part: int | None = None
    """0 for the first half of a fused weight's outputs, 1 for the second; None for all of them."""
    module: str | None = None
    """The name of the module that the parameter is the weight of, where it can have an adapter too."""

    def found_in(self, names: Container[str]) -> str | None:
        """The name that an adapter's layers have it by; None where they do not."""
        weight = None if self.is_parameter else f"{self.name}.weight"
        return next((name for name in (self.name, self.module, weight) if name is not None and name in names), None)


@dataclass(frozen=True)
class PeftLayers:
    """The names of a model's layers in transformers."""

    kind: str
    """The type of the model of text, as transformers calls it."""
    factors: Callable[[Sequence[str]], Mapping[str, mx.array]] = field(default=lambda names: {})
    """What mlx-lm multiplies transformers' weights with, (outputs, inputs), by the layers' names; 1 if left out."""

    def place(self, layer: str) -> PeftPlace:
        """Where a layer is, by mlx-lm's name."""
        name = text_name(layer)
        for pattern, theirs in _RENAMED.get(self.kind, ()):
            name = re.sub(f"^{pattern}$", theirs, name)
        if match := _STACKED.fullmatch(name):
            is_down = match[2] == "down"
            weight = f"{match[1]}.experts.{'down_proj' if is_down else 'gate_up_proj'}"
            return PeftPlace(weight, is_parameter=True, part=None if is_down else int(match[2] == "up"))
        if self.kind == _SHARED[0] and (match := _SHARED[1].fullmatch(name)):
            is_down = match[2] == "down"
            weight = f"{match[1]}.shared_mlp.{'output' if is_down else 'input'}_linear"
            return PeftPlace(weight, part=None if is_down else int(match[2] == "up"))
        pattern, theirs = _ROUTERS.get(self.kind, ("", ""))
        if pattern and re.fullmatch(pattern, name):
            weight = re.sub(f"^{pattern}$", theirs, name)
            return PeftPlace(weight, is_parameter=True, module=weight.removesuffix(".weight"))
        if self.kind in _TAKEN_FOR_EXPERTS and name.endswith(_EXPERT_NAMES):
            return PeftPlace(f"{name}.weight", is_parameter=True, module=name)
        return PeftPlace(name)

    def places(self, layers: Iterable[str]) -> tuple[list[str], list[str]]:
        """The names of the modules, and of the parameters in the order that their modules have them in."""
        found = {place.name: place for place in map(self.place, layers)}
        modules = [place.module or name for name, place in found.items() if place.module or not place.is_parameter]
        parameters = [name for name, place in found.items() if place.is_parameter]
        return modules, sorted(parameters, key=lambda name: (name.rpartition(".")[0], name.endswith("down_proj")))

    def to_peft(self, weights: Arrays, adapter: AdapterFile) -> tuple[Arrays, AdapterFile]:
        """An adapter by transformers' names, in the shapes of mlx-lm's on linear layers.

        Args:
            weights: by mlx-lm's names: `lora_a` (inputs, rank) and `lora_b` (rank, outputs), of experts (experts, rank,
                inputs) and (experts, outputs, rank); `m` (outputs).
            adapter: their description.

        Returns:
            `lora_a` (inputs, rank · experts), experts first, and `lora_b` (rank · experts, outputs), ranks first.
        """
        held: dict[str, dict[int | None, str]] = {}
        for layer in adapter.layers:
            place = self.place(layer)
            held.setdefault(place.name, {})[place.part] = layer
        factors = self.factors(list(adapter.layers))
        found: Arrays = {}
        layers: dict[str, LowRank] = {}
        for name, parts in held.items():
            own = [_Pair.of_mlx(weights, layer, adapter.layers[layer].scale) for layer in parts.values()]
            own = [pair.divided(factors.get(layer)) for pair, layer in zip(own, parts.values(), strict=True)]
            pair = own[0] if None in parts else _fused(dict(zip(parts, own, strict=True)), self.kind in _IN_TURN)
            if self.kind in _TAKEN_FOR_TURNED and pair.is_stacked:
                pair = pair.turned()
            found |= pair.to_peft(name)
            layers[name] = LowRank(pair.a.shape[1], pair.scale)
        return found, AdapterFile(adapter.kind, adapter.dropout, layers)

    def from_peft(
        self, weights: Arrays, adapter: AdapterFile, experts: Mapping[str, int]
    ) -> tuple[Arrays, AdapterFile]:
        """The reverse of `to_peft`.

        Args:
            weights: by transformers' names.
            adapter: their description.
            experts: the number of experts of every layer that can have an adapter, by mlx-lm's names.
        """
        meant = {layer: place for layer in experts if (place := self.place(layer)).found_in(adapter.layers)}
        factors = self.factors(list(meant))
        found: Arrays = {}
        layers: dict[str, LowRank] = {}
        for layer, place in meant.items():
            name = place.found_in(adapter.layers) or place.name
            pair = _Pair.of_peft(weights, name, adapter.layers[name].scale, experts[layer])
            if self.kind in _TAKEN_FOR_TURNED and pair.is_stacked:
                pair = pair.turned()
            if place.part is not None:
                pair = pair.part(place.part, self.kind in _IN_TURN)
            found |= pair.multiplied(factors.get(layer)).to_mlx(layer)
            layers[layer] = LowRank(pair.a.shape[1], pair.scale)
        return found, AdapterFile(adapter.kind, adapter.dropout, layers)


@dataclass(frozen=True)
class _Pair:
    """scale · B · A for each expert."""

    a: mx.array
    """(experts, rank, inputs)."""
    b: mx.array
    """(experts, outputs, rank)."""
    scale: float
    m: mx.array | None
    """(outputs): DoRA's lengths."""
    is_stacked: bool

    @classmethod
    def of_mlx(cls, weights: Arrays, layer: str, scale: float) -> _Pair:
        a, b = weights[f"{layer}.lora_a"], weights[f"{layer}.lora_b"]
        stacked = a.ndim == 3
        return cls(a if stacked else a.T[None], b if stacked else b.T[None], scale, weights.get(f"{layer}.m"), stacked)

    @classmethod
    def of_peft(cls, weights: Arrays, name: str, scale: float, experts: int) -> _Pair:
        a, b = weights[f"{name}.lora_a"].T, weights[f"{name}.lora_b"].T
        a = a.reshape(experts, -1, a.shape[-1])
        b = b.reshape(b.shape[0], -1, experts).transpose(2, 0, 1)
        return cls(a, b, scale, weights.get(f"{name}.m"), experts > 1)

    def to_mlx(self, layer: str) -> Arrays:
        pair = (self.a, self.b) if self.is_stacked else (self.a[0].T, self.b[0].T)
        found = {f"{layer}.lora_a": mx.contiguous(pair[0]), f"{layer}.lora_b": mx.contiguous(pair[1])}
        return found if self.m is None else found | {f"{layer}.m": self.m}

    def to_peft(self, name: str) -> Arrays:
        a = self.a.reshape(-1, self.a.shape[-1])
        b = self.b.transpose(1, 2, 0).reshape(self.b.shape[1], -1)
        found = {f"{name}.lora_a": a.T, f"{name}.lora_b": b.T}
        return found if self.m is None else found | {f"{name}.m": self.m}

    def turned(self) -> _Pair:
        """The pair of the transposed weight."""
        return _Pair(self.b.transpose(0, 2, 1), self.a.transpose(0, 2, 1), self.scale, self.m, self.is_stacked)

    def divided(self, factor: mx.array | None) -> _Pair:
        """On a weight that is not multiplied with a factor that is the same for all inputs."""
        return self if factor is None else self.multiplied(1 / factor)

    def multiplied(self, factor: mx.array | None) -> _Pair:
        """On a weight that is multiplied with a factor (outputs, inputs) that is the same for all inputs."""
        if factor is None:
            return self
        rows = factor[:, 0]
        b = self.b * (rows[:, None] if rows.size == self.b.shape[1] else rows[0])
        return _Pair(self.a, b, self.scale, None if self.m is None else self.m * mx.abs(rows), self.is_stacked)

    def part(self, index: int, in_turn: bool) -> _Pair:
        """On the first or the second half of a fused weight's outputs."""
        half, ranks = self.b.shape[1] // 2, self.a.shape[1] // 2
        halves = [self.b[:, ::2], self.b[:, 1::2]] if in_turn else [self.b[:, :half], self.b[:, half:]]
        own = None if self.m is None else self.m[:half] if index == 0 else self.m[half:]
        crossed = (halves[0][..., ranks:], halves[1][..., :ranks])
        straight = (halves[0][..., :ranks], halves[1][..., ranks:])
        if self.a.shape[1] == 2 * ranks and not _any(*crossed) and _any(*straight):
            # made of two, as `_fused` does
            kept = slice(0, ranks) if index == 0 else slice(ranks, None)
            return _Pair(self.a[:, kept], straight[index], self.scale, own, self.is_stacked)
        return _Pair(self.a, halves[index], self.scale, own, self.is_stacked)


def _any(*arrays: mx.array) -> bool:
    return any(bool(mx.any(array != 0)) for array in arrays)


def _fused(parts: Mapping[int | None, _Pair], in_turn: bool) -> _Pair:
    """A pair on a fused weight, of those on its halves; one that is missing is zero."""
    some = next(iter(parts.values()))
    experts, outputs, _ = some.b.shape
    nothing = _Pair(some.a[:, :0], some.b[..., :0], some.scale, None, some.is_stacked)
    first, second = parts.get(0, nothing), parts.get(1, nothing)
    upper = mx.concatenate([first.b, mx.zeros((experts, outputs, second.b.shape[2]), first.b.dtype)], axis=2)
    lower = mx.concatenate(
        [mx.zeros((experts, outputs, first.b.shape[2]), first.b.dtype), second.b * (second.scale / first.scale)], axis=2
    )
    if in_turn:
        b = mx.stack([upper, lower], axis=2).reshape(experts, 2 * outputs, -1)
    else:
        b = mx.concatenate([upper, lower], axis=1)
    lengths = None if first.m is None or second.m is None else mx.concatenate([first.m, second.m])
    return _Pair(mx.concatenate([first.a, second.a], axis=1), b, first.scale, lengths, some.is_stacked)
