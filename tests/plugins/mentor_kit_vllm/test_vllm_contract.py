"""The contract of samplers, with two servers that stand in for vLLM's, for whole students and adapters."""

from __future__ import annotations

import pytest

from mentor_kit.testing.samplers import SamplerContract


@pytest.mark.slow
class TestVLLM(SamplerContract):
    draws = 150
