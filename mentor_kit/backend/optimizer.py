"""Optimizers as data, without their learning rates, and what a backend's optimizer does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from mentor_kit.core.errors import BackendError
from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.core.option_model import OptionModel

FLOAT32 = 4  # bytes
#: Moments of 8 bits share a scale in blocks of so many, and are those of parameters with at least so many numbers.
EIGHT_BIT_BLOCK, EIGHT_BIT_SIZE = 256, 4096

#: How much of a moving average stays in a step.
Share = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSpec(OptionModel, FrozenModel):
    """An optimizer without its learning rate: the schedule stays with the stage."""

    model_config = ConfigDict(allow_inf_nan=False)

    use: Literal["adamw", "muon"] = "adamw"
    """muon: for the hidden matrices, with AdamW for embeddings, output projection, norms and biases."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """AdamW's: how much of the running means of the gradient and of its square is kept at each step."""
    eps: float = Field(default=1e-8, ge=0)
    """AdamW's: added to the root of the mean square, so that nothing is divided by 0."""
    bits: Literal[32, 8] = 32
    """Of a number of AdamW's moments. 8: by bitsandbytes, on torch alone, in blocks of 256 numbers with a scale each
    (arXiv 2110.02861); parameters with fewer than 4,096 numbers keep 32."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Each step multiplies the weights by 1 - learning rate * weight_decay."""
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Muon's; its step is scaled to AdamW's root mean square of 0.2, so that both take the same learning rates
    (arXiv 2502.16982)."""
    clip: float | None = Field(default=1.0, gt=0)
    """The gradient's global norm is cut to this; null for no clipping."""

    def takes_muon(self, dimensions: int, *, is_table: bool) -> bool:
        """Whether Muon updates a parameter, and not AdamW.

        Args:
            dimensions: how many the parameter has.
            is_table: whether it is the embeddings or the output projection, a row a token.
        """
        return self.use == "muon" and dimensions == 2 and not is_table

    def moment_bytes(self, count: int, hidden: int) -> int:
        """Bytes kept for `count` parameters, of which `hidden` are in hidden matrices: AdamW has two numbers, Muon one.

        In 8 bits those that keep 32, which are few, are counted like the others.
        """
        by_muon = hidden if self.use == "muon" else 0
        moment = FLOAT32 * (count - by_muon)
        if self.bits == 8:
            moment = count - by_muon + FLOAT32 * -(-(count - by_muon) // EIGHT_BIT_BLOCK)
        return 2 * moment + FLOAT32 * by_muon


class Optimizer(ABC):
    """An optimizer of a policy's trained parameters, which holds their gradients between steps."""

    spec: OptimizerSpec

    @abstractmethod
    def step(self, learning_rate: float) -> tuple[float, bool]:
        """Update the parameters with the gradients there are, and clear them.

        Returns the gradient's global norm, and whether it was clipped.

        Raises:
            BackendError: the gradient is not finite. Nothing but the gradients is changed: they are cleared.
        """

    @abstractmethod
    def clear(self) -> None:
        """Drop the gradients."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the optimizer's state to a folder, as files named `optimizer.*`."""

    def marks(self) -> dict[str, int]:
        """How often each parameter's gradient was added to, by its name; for backends whose devices refuse memory."""
        return {}

    def added_since(self, marks: Mapping[str, int]) -> frozenset[str]:
        """Parameters whose gradients were added to since then; half of an addition is taken back."""
        return frozenset(name for name, count in self.marks().items() if marks.get(name) != count)

    def frozen(self, names: Collection[str]) -> AbstractContextManager[None]:
        """A context in which these parameters' gradients are not added to."""
        return nullcontext()

    def close(self) -> None:  # noqa: B027 (most have nothing to do)
        """Release the model."""


def exceeds(norm: float, limit: float | None) -> bool:
    """Whether a gradient's norm is above the limit that it is clipped to.

    Raises:
        BackendError: it is not finite.
    """
    if norm - norm != 0:
        raise BackendError(f"the gradient's norm is {norm}", hint="lower the learning rate, or use `dtype: float32`")
    return limit is not None and norm > limit
