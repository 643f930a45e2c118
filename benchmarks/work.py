"""The work of our sides on any backend: sampling tokens, and grouping completions with their prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup


def sampled(policy: Policy, prompts: Sequence[Sequence[int]], new_tokens: int, temperature: float) -> list[Completion]:
    """A completion for each prompt, which nothing stops; the engine's sessions end afterwards."""
    engine = policy.engine()
    names = [str(index) for index in range(len(prompts))]
    for seed, (name, prompt) in enumerate(zip(names, prompts, strict=True)):
        engine.submit(SampleRequest(name, name, tuple(prompt), temperature, new_tokens, frozenset(), seed=seed))
    found: dict[str, Completion] = {}
    while engine.busy:
        found |= {done.id: done for done in engine.step()}
    for name in names:
        engine.release(name)
    return [found[name] for name in names]


def grouped(prompts: Sequence[Sequence[int]], rows: Sequence[TokenCompletion], size: int) -> list[TokenGroup]:
    """Completions, `size` of a prompt next to each other, with their prompts."""
    starts = range(0, len(rows), size)
    return [TokenGroup(np.array(prompts[start]), tuple(rows[start : start + size])) for start in starts]
