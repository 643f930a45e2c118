"""Names and shapes of weights in transformers' form, by mlx-lm's, for folders that mlx-lm or this backend wrote.

What a folder of transformers holds is read from it. A folder in mlx-lm's form says nothing of it, so the rules are
written here, once, by type of model; `transformers_form` refuses names that mlx-lm would not read as this model's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Shape = tuple[int, ...]
Shapes = dict[str, Shape]

#: Types of models of text whose names are known here: the rules below, and no others, lead to them.
KNOWN = frozenset(
    (
        "apertus",
        "cohere",
        "cohere2",
        "deepseek_v3",
        "ernie4_5",
        "exaone4",
        "falcon_h1",
        "gemma",
        "gemma2",
        "gemma3_text",
        "gemma3n_text",
        "gemma4_text",
        "glm4",
        "glm4_moe",
        "gpt_oss",
        "granite",
        "granitemoe",
        "granitemoehybrid",
        "helium",
        "hunyuan_v1_dense",
        "jamba",
        "lfm2",
        "lfm2_moe",
        "llama",
        "llama4_text",
        "mamba",
        "mamba2",
        "ministral3",
        "mistral",
        "mixtral",
        "nemotron",
        "nemotron_h",
        "olmo2",
        "olmo3",
        "olmoe",
        "phi",
        "phi3",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_5_moe_text",
        "qwen3_5_text",
        "qwen3_moe",
        "qwen3_next",
        "seed_oss",
        "smollm3",
        "stablelm",
        "starcoder2",
    )
)
#: Types of models some of whose weights mlx-lm multiplies when it loads them.
SCALED = ("falcon_h1",)
#: Stacked experts in mlx-lm: the module that holds them, the projection, and what it is of.
_STACKED = re.compile(r"(.+)\.(?:switch_mlp|switch_glu|experts)\.(gate_proj|up_proj|down_proj|fc1|fc2)\.(weight|bias)")
_PLAIN = {part: part for part in ("gate_proj", "up_proj", "down_proj")} | {"fc1": "up_proj", "fc2": "down_proj"}
_NUMBERED = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
#: Types of models that keep all experts in one weight, gate and up projection in one: names of these two weights.
_FUSED = {
    "granitemoe": ("input_linear.weight", "output_linear.weight"),
    "granitemoehybrid": ("input_linear.weight", "output_linear.weight"),
    "gemma4_text": ("gate_up_proj", "down_proj"),
    "gpt_oss": ("experts.gate_up_proj", "experts.down_proj"),
    "llama4_text": ("experts.gate_up_proj", "experts.down_proj"),
}
#: Of these the ones whose weights have their inputs before their outputs.
_INPUTS_FIRST = ("gpt_oss", "llama4_text")
#: Types of models whose layers are called by numbers, in experts alone or everywhere.
_BY_NUMBER = ("mixtral", "phimoe", "minimax", "lfm2_moe")


def transformers_shapes(kind: str, shapes: Mapping[str, Shape]) -> Shapes:
    """The shapes in transformers' form, by name, of weights in mlx-lm's.

    Args:
        kind: the type of the model of text, as transformers calls it.
        shapes: by mlx-lm's names, without the model that this one is inside of.
    """
    found: Shapes = {}
    for name, shape in shapes.items():
        found |= (
            _experts(kind, name, shape)
            or _shared(kind, name, shape)
            or {_renamed(kind, name): _turned(kind, name, shape)}
        )
    return found


def _experts(kind: str, name: str, shape: Shape) -> Shapes:
    """Of one projection of stacked experts, (experts, outputs[, inputs]); empty for other weights."""
    match = _STACKED.fullmatch(name)
    if match is None or len(shape) != (3 if match[3] == "weight" else 2):
        return {}
    place, part, what = match.groups()
    count, *rest = shape
    if kind not in _FUSED:
        theirs = _NUMBERED[part] if kind in _BY_NUMBER else _PLAIN[part]
        return {f"{place}.experts.{index}.{theirs}.{what}": tuple(rest) for index in range(count)}
    both, down = _FUSED[kind]
    joined = [count, rest[0] * (1 if part == "down_proj" else 2), *rest[1:]]
    if kind in _INPUTS_FIRST and what == "weight":
        joined[1:] = reversed(joined[1:])
    return {f"{place}.{down if part == 'down_proj' else both}{'_bias' * (what == 'bias')}": tuple(joined)}


def _shared(kind: str, name: str, shape: Shape) -> Shapes:
    """Of a projection of Granite 4's layers without experts, whose gate and up projection are one weight."""
    match = re.fullmatch(r"(.+)\.mlp\.(gate|up|down)_proj\.weight", name)
    if kind != "granitemoehybrid" or match is None:
        return {}
    both = f"{match[1]}.shared_mlp.input_linear.weight"
    return (
        {f"{match[1]}.shared_mlp.output_linear.weight": shape}
        if match[2] == "down"
        else {both: (2 * shape[0], shape[1])}
    )


def _renamed(kind: str, name: str) -> str:
    if kind == "lfm2_moe":
        for part, number in _NUMBERED.items():
            name = name.replace(f".feed_forward.{part}.", f".feed_forward.{number}.")
    return name


def _turned(kind: str, name: str, shape: Shape) -> Shape:
    """Kernels of convolutions have their inputs last in mlx-lm, and weights of one number are plain numbers there."""
    if len(shape) == 3 and name.endswith(("conv1d.weight", "conv.conv.weight")):
        return (shape[0], shape[2], shape[1])
    return (1,) if name.endswith((".act_fn.alpha_p", ".act_fn.alpha_n")) and shape == () else shape
