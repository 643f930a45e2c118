"""The options of the torch backend in a recipe."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from mentor_kit.core.option_model import OptionModel


def _is_device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ValueError(f"must be auto, cpu, mps, cuda, or one of several, such as cuda:1, not {name!r}")
    return name


Device = Annotated[str, AfterValidator(_is_device)]


#: Tokens of a pass of sampling, and of a micro-batch, where `token_budget: auto` knows nothing of the memory.
USUAL_BUDGET = 16384
#: What `Policy.export` writes.
EXPORT_FORMATS = ("transformers", "adapter")


class TorchOptions(OptionModel):
    """How the torch backend runs a student."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    device: Device = "auto"
    """auto: CUDA where it is there; on a Mac MPS for models 512 wide and wider, where a trial finds that it computes as
    the CPU does; else the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: bfloat16 on CUDA devices that multiply it, and on CPUs with instructions for it for models 512 wide
    and wider; else float32.

    Trained weights are always kept in float32 beside a 16-bit model.
    """
    threads: int | None = Field(default=None, gt=0)
    """CPU threads; PyTorch's own choice if left out."""
    quantize: Literal[4, 8] | None = None
    """Bits of the weights of linear layers, to which bitsandbytes quantizes a model when it is loaded, under an adapter
    (QLoRA): 4 is NF4 with quantized scales (arXiv 2305.14314), 8 a scale a row. A model that is quantized already is
    taken as it is."""
    processes: int | None = Field(default=None, gt=0)
    """Processes that share the work on this machine, a GPU each where there are GPUs; the run starts the others. Left
    out, those that `torchrun` started, or one."""
    shard: bool = False
    """Divide weights, gradients and optimizer among the processes (FSDP2), for a student that does not fit beside them
    on one device; while it samples, each process holds all weights. Without effect in a single process."""
    slots: int = Field(default=256, gt=0)
    """Sequences that are held at once; more are queued."""
    token_budget: Literal["auto"] | Annotated[int, Field(gt=0)] = USUAL_BUDGET
    """Tokens in one micro-batch of the update; shared prefixes count once, and padding where a model needs it. auto: as
    many as what `memory` leaves for an update holds, found when the optimizer is made, and kept when a run is resumed.
    Halved where the device is out of memory."""
    deterministic: bool = False
    """Stop with an error that names it at an operation for which PyTorch has no deterministic implementation. Without
    it such operations run, and PyTorch's others are deterministic still."""
    gradient_checkpointing: Literal["auto"] | bool = "auto"
    """Keep only the input of each layer for the backward pass, and recompute the layer there: much less memory in the
    update, for a third more work. Models of other kinds than Llama's run a prompt again for each completion then.
    auto: for Llama's kind, where a full micro-batch would take more than half of what `memory` leaves."""
    memory: float | None = Field(default=None, gt=0)
    """GiB that the run may take; left out, nine tenths of what is free on the device when the student is loaded.
    Sampling and updates are held to it in turns; what does not fit is made smaller, with a line in the log."""
    kv_memory: float | None = Field(default=None, gt=0)
    """GiB that keys and values may take; sequences beyond it wait, and one that alone exceeds it is refused. Left
    out, what weights and optimizer leave of `memory`."""
    prefill_chunk: int = Field(default=1024, gt=0)
    """Tokens of a sequence that are prefilled in one go."""
    max_context: int | None = Field(default=None, gt=0)
    """A limit below the model's own."""
    compile: bool = False
    """Compile the decoder's layer for sampling by `torch.compile`. For models of Llama's kind."""
    cuda_graphs: Literal["auto"] | bool = "auto"
    """Record decoding passes of each shape as CUDA graphs, and replay them. auto: on CUDA, for students whose layers
    keep keys and values alone. Where they differ from plain passes, or find no memory, a line in the log says so, and
    passes are run plainly."""
    graph_memory: float = Field(default=1.0, gt=0)
    """GiB that CUDA graphs may take, beside what `memory` counts. Further shapes of passes are not recorded then."""
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    """The implementation of attention in transformers; auto: sdpa where the model has it."""
    attention_kernels: Literal["auto", "flex", "flash", "efficient", "plain"] = "auto"
    """The kernels of attention to shared prefixes, in updates and beside a kept beginning. auto: on CUDA those of
    PyTorch that a trial finds right when the student is loaded: FlexAttention for updates, flash or memory-efficient
    attention for parts, else plain products. A name asks for one of them; where it is not right, the run stops."""

    @property
    def usual_budget(self) -> int:
        """The token budget, or what stands for it where it is found later."""
        return USUAL_BUDGET if self.token_budget == "auto" else self.token_budget
