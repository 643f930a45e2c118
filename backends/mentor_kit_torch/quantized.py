"""Weights in 4 or 8 bits by bitsandbytes: read or made when a student is loaded, counted, and written as plain ones.

Weights alone are quantized: a layer multiplies its input, as it is, by weights that are widened for the product. So
the student that is exported with its adapter merged is the one that was trained. A token's log-probability depends on
no other row, and sampling and updates compute alike; but on CUDA bitsandbytes has several kernels for 4-bit products
without a gradient, which round differently. bitsandbytes itself would quantize the inputs of 8-bit layers too,
and on some CPUs compute 4-bit ones in bfloat16, without a gradient; `prepare` turns both off.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn

from mentor_kit.core.errors import MissingError

Bits = Literal[4, 8]
#: How many 4-bit numbers share a scale, and how many of these scales share one again where they are quantized too.
BLOCK, SCALES = 64, 256


@dataclass(frozen=True)
class WeightQuantization:
    """How a model's linear layers are quantized; its output projection stays as it is."""

    bits: Bits
    nested: bool
    """Whether the scales of 4-bit numbers are 8-bit numbers, with a scale of their own."""
    skipped: tuple[str, ...] = ()
    """Names, or ends of names, of modules that are not quantized."""

    def bytes(self, layer: nn.Linear) -> int:
        """Bytes of a layer's quantized weights, their scales included."""
        numbers = layer.in_features * layer.out_features
        if self.bits == 8:
            return numbers + 4 * layer.out_features
        scales = -(-numbers // BLOCK)
        table = 4 * 16
        if not self.nested:
            return -(-numbers // 2) + 4 * scales + table
        return -(-numbers // 2) + scales + 4 * -(-scales // SCALES) + table + 4 * 256 + 4

    def of_transformers(self, dtype: torch.dtype) -> Any:
        """The same for transformers, computing in a type."""
        from transformers import BitsAndBytesConfig

        if self.bits == 8:
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=self.nested,
            bnb_4bit_compute_dtype=dtype,
        )


def quantization_of(config: Any, bits: Bits | None) -> WeightQuantization | None:
    """How a student's weights are quantized: as its folder has them, or else as the option wants; None for not.

    Args:
        config: of the model.
        bits: the option `quantize`.
    """
    own = getattr(config, "quantization_config", None)
    if own is None:
        return None if bits is None else WeightQuantization(bits, nested=bits == 4)
    own = own if isinstance(own, Mapping) else own.to_dict()
    if own.get("quant_method") != "bitsandbytes":
        return None
    skipped = tuple(own.get("llm_int8_skip_modules") or ())
    if own.get("load_in_8bit"):
        return WeightQuantization(8, nested=False, skipped=skipped)
    return WeightQuantization(4, nested=bool(own.get("bnb_4bit_use_double_quant")), skipped=skipped)


def has_bitsandbytes() -> bool:
    """Whether bitsandbytes is installed."""
    return find_spec("bitsandbytes") is not None


def require_bitsandbytes(what: str, option: str) -> None:
    """Check that bitsandbytes is installed.

    Args:
        what: needs it, in the plural.
        option: that asks for it.

    Raises:
        MissingError: with the command that installs it.
    """
    if not has_bitsandbytes():
        raise MissingError(
            f"{what} need bitsandbytes, which is not installed",
            hint=f"pip install 'mentor-kit[bitsandbytes]', or leave {option} out",
        )


def prepare(model: Any, dtype: torch.dtype) -> None:
    """Have a loaded model's quantized layers multiply by widened weights in its own type, in place."""
    import bitsandbytes

    from mentor_kit_torch.int8_linear import Int8Linear

    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear8bitLt):
            module.__class__ = Int8Linear
        elif isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
            module.compute_dtype, module.compute_type_is_set = dtype, True


def is_quantized(model: Any) -> bool:
    """Whether some of a model's weights are no floating-point numbers."""
    return any(not parameter.is_floating_point() for parameter in model.parameters())


def parameter_count(model: Any) -> int:
    """How many parameters a model has; quantized ones as many as they stand for."""
    return sum(_numbers(parameter) for parameter in model.parameters())


def weight_bytes(model: Any, how: WeightQuantization | None, size: int) -> int:
    """Bytes of a model's weights once it is loaded.

    Args:
        model: not quantized, without weights.
        how: its linear layers will be.
        size: bytes of a number that is not.
    """
    total: int = sum(parameter.numel() for parameter in model.parameters()) * size
    if how is not None:
        total += sum(how.bytes(layer) - layer.weight.numel() * size for layer in _quantizable(model, how))
    return total


def plain_copy(model: Any) -> Any:
    """A copy of a model on plain weights, those that its quantized ones stand for, with its adapter if it has one.

    It is in main memory. On the model's device there is a copy of its quantized weights meanwhile.
    """
    twin = copy.deepcopy(model, {id(value): in_main_memory(value) for value in _plain_values(model)})
    adapters = getattr(model, "peft_config", None)
    if adapters is None:
        return _widened(twin)
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    plain = get_peft_model(_widened(twin.unload()), copy.deepcopy(adapters["default"]))
    set_peft_model_state_dict(plain, get_peft_model_state_dict(model))
    return plain.eval()


def _has_few_bits(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and not module.weight.is_floating_point()


def _plain_values(model: Any) -> Iterator[torch.Tensor]:
    """Parameters and buffers that are no quantized ones, nor belong to them."""
    for module in model.modules():
        if not _has_few_bits(module):
            yield from (*module.parameters(recurse=False), *module.buffers(recurse=False))


def in_main_memory(value: torch.Tensor) -> torch.Tensor:
    """A copy of a parameter or buffer there."""
    copied = value.detach().to("cpu", copy=True)
    return nn.Parameter(copied, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else copied


def _widened(model: Any) -> Any:
    """A model of transformers with plain weights in place of its quantized ones, in main memory, in place."""
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    # one layer after the other: all together they may be more than the device has room for
    for name, layer in list(model.named_modules()):
        if _has_few_bits(layer):
            wide = dequantize_bnb_weight(layer.weight, getattr(layer, "state", None))
            with torch.device("meta"):
                plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
            plain.weight = nn.Parameter(wide.to(device="cpu", dtype=model.config.dtype), requires_grad=False)
            if layer.bias is not None:
                plain.bias = nn.Parameter(layer.bias.detach().cpu(), requires_grad=False)
            model.set_submodule(name, plain)
    model.hf_quantizer.remove_quantization_config(model)
    # transformers would write weights as it read them, and cannot where that was from a quantized folder
    if (steps := getattr(model, "_weight_conversions", None)) is not None:
        model._weight_conversions = [step for step in steps if not _is_of_bitsandbytes(step)]
    return model


def _is_of_bitsandbytes(step: Any) -> bool:
    """Whether a step in which transformers read weights was for bitsandbytes."""
    return any(type(one).__module__.endswith(".bitsandbytes") for one in getattr(step, "operations", ()))


def _quantizable(model: Any, how: WeightQuantization) -> Iterator[nn.Linear]:
    ends = {id(layer) for layer in (model.get_output_embeddings(), model.get_input_embeddings())}
    for name, module in model.named_modules():
        skipped = any(name == one or name.endswith(f".{one}") or name.startswith(f"{one}.") for one in how.skipped)
        if isinstance(module, nn.Linear) and id(module) not in ends and not skipped:
            yield module


def _numbers(parameter: Any) -> int:
    """Of a 4-bit parameter as many as it stands for: two are in a byte."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())
