"""A sampler: the student's own engine, with a limit on how many turns it samples at once.

A sampler that asks servers has the same four methods: `start` connects to them, and `publish` gives them the weights.
"""

from __future__ import annotations

import asyncio

from mentor_kit.backend.engine_sampler import EngineSampler
from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import Completion, Sampler, SampleRequest
from mentor_kit.backend.sampling_service import SamplingService
from mentor_kit.backend.student import StudentSpec
from pydantic import BaseModel, ConfigDict, Field


class WeatherSamplerOptions(BaseModel):
    """The sampler's options."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    at_once: int = Field(default=64, gt=0)
    """How many turns are sampled at once; the others wait."""


class WeatherService(SamplingService):
    """The sampler `weather`."""

    caveats = ("batches form as turns come, so that a run is not the same to the bit each time",)

    def __init__(self, options: WeatherSamplerOptions) -> None:
        self.options = options
        self._policy: Policy | None = None

    def start(self, policy: Policy, student: StudentSpec) -> None:
        """Keep the policy, whose engine samples."""
        self._policy = policy

    def publish(self, version: int) -> None:
        """Do nothing: a policy's own engine always has its current weights."""

    def sampler(self) -> Sampler:
        """A sampler for the episodes of one rollout."""
        if self._policy is None:
            raise RuntimeError("the service is not started")
        engine = EngineSampler(self._policy.engine(), deterministic=False)
        return WeatherSampler(engine, self.options.at_once)


class WeatherSampler(Sampler):
    """A sampler that has another one sample a few turns at once.

    Args:
        engine: samples.
        at_once: how many turns.
    """

    def __init__(self, engine: EngineSampler, at_once: int) -> None:
        self._engine, self._free = engine, asyncio.Semaphore(at_once)

    def open(self, session: str) -> None:
        """Begin an episode."""
        self._engine.open(session)

    def close(self, session: str) -> None:
        """End an episode."""
        self._engine.close(session)

    async def sample(self, request: SampleRequest) -> Completion:
        """Sample one turn, when one of the others is done."""
        async with self._free:
            return await self._engine.sample(request)

    def cancel(self, request_id: str) -> None:
        """End a turn early."""
        self._engine.cancel(request_id)
