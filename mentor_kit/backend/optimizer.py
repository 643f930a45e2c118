"""Optimizers as data, without their learning rates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from mentor_kit.core.frozen_model import FrozenModel

#: How much of a moving average stays in a step.
Share = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSpec(FrozenModel):
    """An optimizer without its learning rate: the schedule stays with the stage."""

    model_config = ConfigDict(allow_inf_nan=False)

    use: Literal["adamw", "muon"] = "adamw"
    """muon: for the hidden matrices, with AdamW for embeddings, output projection, norms and biases."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: float = Field(default=1e-8, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Muon's; its step is scaled to AdamW's root mean square of 0.2, so that both take the same learning rates
    (arXiv 2502.16982)."""
    clip: float | None = Field(default=1.0, gt=0)
    """The gradient's global norm is cut to this; None for no clipping."""
