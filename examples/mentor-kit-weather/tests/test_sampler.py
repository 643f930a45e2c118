"""The contract of samplers: the tokens, log-probabilities and weights are the policy's."""

from __future__ import annotations

import asyncio

import pytest
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.component import ComponentSpec
from mentor_kit.hooks import BuildContext
from mentor_kit.testing.material import request
from mentor_kit.testing.samplers import SamplerContract

from mentor_kit_weather import sampler


class TestWeatherSampler(SamplerContract):
    counter_based = True
    full_log_probs = True

    @pytest.fixture
    def student(self, registry):
        return StudentSpec(str(registry.build("students", ComponentSpec(use="tiny-student"), BuildContext(registry))))

    @pytest.fixture
    def policy_factory(self, build, student):
        backend = build("backends", "torch", dtype="float32")
        return lambda token_budget: backend.load(student, seed=0)

    @pytest.fixture
    def service_factory(self, build):
        return lambda: build("samplers", "weather")


def test_so_many_turns_are_sampled_at_once():
    running, most = 0, 0

    class Engine:
        async def sample(self, one):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return one.id

    async def run():
        limited = sampler.WeatherSampler(Engine(), at_once=3)
        return await asyncio.gather(*(limited.sample(request(str(n), [1])) for n in range(10)))

    assert asyncio.run(run()) == [str(n) for n in range(10)]
    assert most == 3
