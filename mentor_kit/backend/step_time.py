"""The time of a step on a GPU, worked out from its data sheet: an expectation to compare a run with, not a measurement.

    a pass of decoding    (weights + rows x keys and values of a mean sequence) / bandwidth + overhead
    sampling              passes of a sequence of full length x the waves in which all sequences find room
    update                operations of all tokens / (share of the rate of matrix products that updates reach)
    exchange              bytes between processes / rate of the link

Sampling reads all weights and what rows hold for each token; an update multiplies two operations a parameter and token
forwards, as many backwards, and as many again for the parameters that are trained.
"""

from __future__ import annotations

from dataclasses import dataclass

from mentor_kit.backend.gpu_models import GpuModel

#: Seconds that a pass takes beside what it reads, as kernels are launched.
PASS_OVERHEAD = 2e-3
#: The shares of the rates of matrix products and of memory that are taken to be reached.
FLOPS_SHARE, BANDWIDTH_SHARE = 0.4, 0.9


@dataclass(frozen=True)
class StepWork:
    """What a step does, at full length; numbers are those of one process."""

    parameters: int
    trained: int
    weights: int
    """Bytes that a pass of decoding reads of them."""
    position: int
    """Bytes of keys and values of a token."""
    sequences: int
    """Sequences of the step."""
    rows: int
    """Sequences that are sampled at once."""
    prompt: int
    """Tokens of a prompt."""
    response: int
    """Tokens of a sequence after its prompt."""
    problems: float
    """Prompts of the step."""
    reference: bool = False
    recomputed: bool = False
    """Whether layers are computed again in the backward pass."""
    exchanged: int = 0
    """Bytes that the process exchanges with others in a step."""

    @property
    def tokens(self) -> float:
        """Tokens that the update goes over: every response, and each prompt once."""
        return self.sequences * self.response + self.problems * self.prompt


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step."""

    sampling: float
    update: float
    exchange: float
    passes: int
    """Passes of decoding."""
    pass_seconds: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.sampling + self.update + self.exchange


def step_time(work: StepWork, gpu: GpuModel) -> StepTime:
    """The time of a step whose sequences all have full length: at most, where they end earlier."""
    read = work.weights + work.rows * (work.prompt + work.response / 2) * work.position
    seconds = read / (gpu.bandwidth * BANDWIDTH_SHARE) + PASS_OVERHEAD
    waves = -(-work.sequences // max(work.rows, 1))
    passes = waves * work.response
    forward = 2.0 * work.parameters
    operations = forward * (2 + work.reference + work.recomputed) + 2.0 * work.trained
    prefilled = forward * work.problems * work.prompt
    rate = gpu.flops * FLOPS_SHARE
    return StepTime(
        sampling=passes * seconds + prefilled / rate,
        update=operations * work.tokens / rate,
        exchange=work.exchanged / gpu.link,
        passes=passes,
        pass_seconds=seconds,
    )
