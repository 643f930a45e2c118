"""The contract of samplers, with two servers that stand in for vLLM's, for whole students and adapters."""

from __future__ import annotations

from mentor_kit.testing.samplers import SamplerContract


class TestVLLM(SamplerContract):
    full_log_probs = False
    draws = 150
