"""The options of the mlx backend in a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from mentor_kit.core.option_model import OptionModel
from mentor_kit_mlx.quantized import Quantized

#: Formats of a whole student in quantized weights, by their bits.
QUANTIZED_FORMATS = {"mlx-4bit": 4, "mlx-8bit": 8}
#: Tokens of a pass of prefill, and of a micro-batch, where `token_budget: auto` knows nothing of the memory.
USUAL_BUDGET = 8192
#: What `Policy.export` writes.
EXPORT_FORMATS = ("transformers", "mlx", *QUANTIZED_FORMATS, "adapter", "mlx-adapter")


class MLXOptions(OptionModel):
    """How the mlx backend runs a student."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    device: Literal["auto", "gpu", "cpu"] = "auto"
    """auto: the GPU where MLX has one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: the model's own on a GPU, float32 on a CPU. Trained weights are always kept in float32 beside a 16-bit
    model."""
    adapter: Literal["lora", "dora"] = "lora"
    """The kind of a new adapter; dora also learns the length of every row of the adapted weights (arXiv 2402.09353)."""
    quantize: Literal[4, 8] | None = None
    """Bits of a weight to quantize the model to when it is loaded, under an adapter; a model that is quantized already
    is taken as it is."""
    gradient_checkpointing: Literal["auto"] | bool = "auto"
    """Recompute layers in the backward pass: a third more work, far less memory, the same gradients. auto: where a full
    micro-batch would take more than half of what `memory` leaves."""
    compile: Literal["auto"] | bool = "auto"
    """Run the optimizer's arithmetic as one compiled kernel a parameter. auto: on a GPU; on a CPU it takes a C++
    compiler."""
    slots: int = Field(default=64, gt=0)
    """Sequences that are held at once; more are queued."""
    token_budget: Literal["auto"] | Annotated[int, Field(gt=0)] = USUAL_BUDGET
    """Tokens, padding included, in one micro-batch of the update, and in one pass of prefill. auto: in an update as
    many as what `memory` leaves for it holds, found when the optimizer is made, and kept when a run is resumed."""
    prefill_chunk: int = Field(default=512, gt=0)
    """Tokens of a sequence that are prefilled in one go."""
    kv_bits: Literal[4, 6, 8] | None = None
    """Bits of a number of sampling's keys and values; left out, they are kept as they are. A sample's log-probabilities
    are those that the quantized ones give, as its tokens were drawn from them; updates never quantize."""
    kv_group: Literal[32, 64, 128] = 64
    """How many quantized numbers of a key or value share a scale; it must divide the width of a head."""
    max_context: int | None = Field(default=None, gt=0)
    """A limit below the model's own."""
    memory: float | None = Field(default=None, gt=0)
    """GiB that the run may take; left out, what MLX recommends for the GPU, and no limit on a CPU. Keys and values
    are kept within what weights, gradients and optimizer leave of it; what cannot fit is refused."""

    @property
    def quantized(self) -> Quantized | None:
        """The quantization of keys and values in sampling; None for none."""
        return None if self.kv_bits is None else Quantized(self.kv_bits, self.kv_group)

    @property
    def usual_budget(self) -> int:
        """The token budget, or what stands for it where it is found later."""
        return USUAL_BUDGET if self.token_budget == "auto" else self.token_budget
