"""Material of contract suites: requests, completions and token groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import Completion, Engine, SampleRequest
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup

PolicyFactory = Callable[[int | None], Policy]
Oracle = Callable[[Sequence[int]], NDArray[np.float64]]

#: AdamW that is nearly plain descent, so that noise in tiny gradients is not blown up to whole steps.
GENTLE = OptimizerSpec(eps=1.0, clip=None)
TOLERANCE = 1e-4


def request(id: str, context: Sequence[int], **changes: Any) -> SampleRequest:
    """A request with defaults: its own session, temperature 1, 8 new tokens, no stop tokens, seed from the id."""
    values: dict[str, Any] = {
        "session": id,
        "temperature": 1.0,
        "max_new_tokens": 8,
        "stop_ids": frozenset(),
        "seed": sum(map(ord, id)),
    }
    return SampleRequest(id=id, context=tuple(context), **(values | changes))


def drive(engine: Engine, requests: Sequence[SampleRequest]) -> dict[str, Completion]:
    """Submit requests and step until all are done; the completions by id."""
    for item in requests:
        engine.submit(item)
    found: dict[str, Completion] = {}
    for _ in range(10_000):
        if not engine.busy:
            return found
        found |= {completion.id: completion for completion in engine.step()}
    raise AssertionError("the engine is busy without end")


def group_of(
    prompt: Sequence[int], completions: Sequence[Completion], advantages: Sequence[float], temperature: float = 1.0
) -> TokenGroup:
    """The group of completions that were sampled for a prompt."""
    return TokenGroup(
        np.array(prompt),
        tuple(
            TokenCompletion(
                ids=np.array(completion.ids, dtype=np.int64),
                mask=np.ones(len(completion.ids), dtype=np.float32),
                log_probs=np.array(completion.log_probs, dtype=np.float32),
                advantage=advantage,
            )
            for completion, advantage in zip(completions, advantages, strict=True)
        ),
        temperature,
    )


def ragged_groups(vocabulary: int, seed: int = 0, temperature: float = 1.0) -> list[TokenGroup]:
    """Three groups of completions of all lengths, one of them empty, with inserted tokens and random log-probabilities.

    Two completions have equal tokens and different advantages; a third differs from them in its mask alone.
    """
    rng = np.random.default_rng(seed)
    groups = []
    for prompt, lengths in ((7, (5, 9, 1)), (3, (6,)), (12, (4, 0, 8, 2))):
        completions = []
        for count in lengths:
            mask = (rng.random(count) < 0.7).astype(np.float32)
            mask[:1] = 1.0
            values = -rng.random(count).astype(np.float32) * 4 * mask
            ids = rng.integers(0, vocabulary, count)
            completions.append(TokenCompletion(ids, mask, values, float(rng.normal())))
        if len(lengths) > 1:
            twin, ones = completions[0], np.ones(lengths[0], dtype=np.float32)
            completions += [
                TokenCompletion(twin.ids, twin.mask, twin.log_probs - 0.1 * twin.mask, 1.5),
                TokenCompletion(twin.ids, ones, -ones, -0.5),
            ]
        groups.append(TokenGroup(rng.integers(0, vocabulary, prompt), tuple(completions), temperature))
    return groups


def flat(values: Sequence[Sequence[NDArray[Any]]]) -> NDArray[Any]:
    """All numbers of `Policy.log_probs` in one array."""
    return np.concatenate([array for group in values for array in group])


def changed(group: TokenGroup, **changes: Any) -> TokenGroup:
    """The group with fields of its completions replaced, each computed from the completion."""
    return TokenGroup(
        group.prompt_ids,
        tuple(
            TokenCompletion(
                **({name: getattr(c, name) for name in c.__dataclass_fields__} | {k: f(c) for k, f in changes.items()})
            )
            for c in group.completions
        ),
        group.temperature,
    )


def log_softmax(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Log-probabilities over the last axis at a temperature."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True))
    return result
