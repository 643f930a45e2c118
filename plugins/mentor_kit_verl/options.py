"""The options of the engine `verl`: what is verl's own, and no recipe says."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from mentor_kit.core.option_model import OptionModel

#: The release of verl that the keys are of, and that an exported run pins.
VERSION = "0.9.1"


class VerlOptions(OptionModel):
    """How verl divides the work over GPUs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tensor_parallel: int = Field(default=1, gt=0)
    """GPUs that share a server's model."""
    sequence_parallel: int = Field(default=1, gt=0)
    """GPUs that share a sequence in the update (Ulysses)."""
    server_memory: float = Field(default=0.5, gt=0, lt=1)
    """The share of a GPU's memory that a server takes while it samples."""
    tokens_per_gpu: int | None = Field(default=None, gt=0)
    """Tokens of a micro-batch on one GPU; the longest sequence there can be, or 16,384 if that is more, if left out."""
    offload: bool = False
    """Keep weights and optimizer in the machine's memory while servers sample."""
    workers: int = Field(default=8, gt=0)
    """Processes that play episodes."""
