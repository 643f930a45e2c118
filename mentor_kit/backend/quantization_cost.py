"""What a student loses when its merged weights are rounded to few bits, measured on contexts of its own run.

    contexts ──whole student samples──> turns ──log-probabilities by──> the whole student, the quantized one, its base
             ──greedy turns of both──> how many are the same

Training an adapter moves weights by less than four bits can tell apart. So the difference that rounding makes stands
beside the one that training made: where it is larger, rounding has undone the training, or worse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import Completion, Sampler, SampleRequest
from mentor_kit.backend.token_groups import Floats, TokenCompletion, TokenGroup
from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.utils.randomness import derive_seed

#: The file in an exported folder that has the cost.
FILE = "quantization_cost.json"


class QuantizationCost(FrozenModel):
    """The differences between a student and its export in quantized weights."""

    format: str
    """Of the export."""
    contexts: int
    """Contexts in each of which a turn was sampled."""
    tokens: int
    """Tokens of these turns, at which log-probabilities were compared."""
    kl: float
    """Nats a token, from the whole student to the quantized one, estimated from the whole student's samples; chance
    may make it a little less than 0."""
    difference: float
    """The mean absolute difference of a token's log-probability between the whole student and the quantized one."""
    training: float
    """That difference between the student before its training and after it."""
    same_turns: float
    """The share of contexts whose greedy turns are the same, token for token."""
    bytes: int
    """Of the export's weights."""
    plain_bytes: int
    """Of the same weights in 16 bits."""

    @property
    def exceeds_training(self) -> bool:
        """Whether rounding changed the student more than its training did."""
        return self.difference > self.training

    def lines(self) -> tuple[str, ...]:
        """The cost for people: a line a fact."""
        verdict = "rounding changed more than training did" if self.exceeds_training else "training changed more"
        return (
            f"{self.format}: {self.bytes / 2**20:,.1f} MiB of weights, {self.plain_bytes / 2**20:,.1f} MiB in 16 bits",
            f"log-probabilities differ by {self.difference:.3g} on average over {self.tokens:,} tokens; "
            f"training had changed them by {self.training:.3g} ({verdict})",
            f"KL to the whole student: {self.kl:.3g} nats a token",
            f"greedy turns: {self.same_turns:.0%} of {self.contexts} are the same",
        )

    def write(self, folder: Path) -> None:
        """Write the file into an exported folder."""
        (folder / FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_cost(folder: Path) -> QuantizationCost | None:
    """The cost that was written into an exported folder; None where there is none."""
    file = folder / FILE
    return QuantizationCost.model_validate_json(file.read_bytes()) if file.is_file() else None


def contexts_of(trajectories: Sequence[Trajectory], limit: int) -> list[tuple[int, ...]]:
    """The contexts before the turns of recorded episodes, at most `limit`, evenly spread, each once.

    Args:
        trajectories: of a policy; those without tokens have none.
        limit: > 0.
    """
    found: dict[tuple[int, ...], None] = {}
    for trajectory in trajectories:
        if (trace := trajectory.tokens) is not None:
            found |= {(*trace.prompt_ids, *trace.ids[: turn.start]): None for turn in trace.turns}
    every = list(found)
    return [every[len(every) * index // min(limit, len(every))] for index in range(min(limit, len(every)))]


@dataclass(frozen=True)
class TurnSampling:
    """How turns are sampled for the comparison."""

    temperature: float
    """> 0."""
    max_tokens: int
    stop_ids: frozenset[int]
    seed: int


@dataclass(frozen=True)
class Turns:
    """A student's turns in the same contexts."""

    groups: tuple[TokenGroup, ...]
    """Each context with the turn that was sampled in it."""
    greedy: tuple[tuple[int, ...], ...]

    def log_probs(self, policy: Policy) -> Floats:
        """Log-probabilities of all sampled tokens under a policy, one after the other."""
        return np.concatenate([values for group in policy.log_probs(self.groups) for values in group])


def sampled_turns(policy: Policy, contexts: Sequence[tuple[int, ...]], how: TurnSampling) -> Turns:
    """A student's turns in contexts, sampled and greedy."""
    drawn = _turns(policy, contexts, how, how.temperature)
    groups = tuple(_group(context, done, how.temperature) for context, done in zip(contexts, drawn, strict=True))
    return Turns(groups, greedy_turns(policy, contexts, how))


def greedy_turns(policy: Policy, contexts: Sequence[tuple[int, ...]], how: TurnSampling) -> tuple[tuple[int, ...], ...]:
    """The likeliest tokens of a turn in each context."""
    return tuple(done.ids for done in _turns(policy, contexts, how, 0.0))


def _turns(
    policy: Policy, contexts: Sequence[tuple[int, ...]], how: TurnSampling, temperature: float
) -> list[Completion]:
    requests = [
        SampleRequest(
            id=f"turn-{index}",
            session=f"turn-{index}",
            context=context,
            temperature=temperature,
            max_new_tokens=how.max_tokens,
            stop_ids=how.stop_ids,
            seed=derive_seed(how.seed, "quantization cost", index),
        )
        for index, context in enumerate(contexts)
    ]
    return asyncio.run(_sampled(policy.sampler(), requests))


async def _sampled(sampler: Sampler, requests: Sequence[SampleRequest]) -> list[Completion]:
    for request in requests:
        sampler.open(request.session)
    try:
        return list(await asyncio.gather(*(sampler.sample(request) for request in requests)))
    finally:
        for request in requests:
            sampler.close(request.session)


def _group(context: tuple[int, ...], done: Completion, temperature: float) -> TokenGroup:
    completion = TokenCompletion(
        ids=np.asarray(done.ids, dtype=np.int64),
        mask=np.ones(len(done.ids), dtype=np.float32),
        log_probs=np.asarray(done.log_probs, dtype=np.float32),
    )
    return TokenGroup(np.asarray(context, dtype=np.int64), (completion,), temperature)
