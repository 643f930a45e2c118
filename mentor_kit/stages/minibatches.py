"""The updates of one step: epochs over minibatches of its token groups."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.update_metrics import LossMetrics, StepMetrics, over_updates


@dataclass(frozen=True)
class Update:
    """The metrics of a step's updates."""

    loss: LossMetrics
    """Over all updates of the step."""
    last: StepMetrics
    """Of the last optimizer step that trained any token; others have no gradient."""
    distillation: Mapping[str, float]
    """Of the distillation; empty where there is none."""
    version: int
    """Of the weights before the first update."""


def update_policy(
    policy: Policy,
    groups: Sequence[TokenGroup],
    objective: Objective,
    learning_rate: float,
    minibatches: int,
    epochs: int,
    distillation: Mapping[str, float],
) -> Update:
    """Update the policy on every minibatch of the groups, `epochs` times over.

    Args:
        policy: with its optimizer prepared.
        groups: those of the step; at least one.
        objective: what each update maximises.
        learning_rate: of every update.
        minibatches: the number of updates of an epoch; fewer where there are fewer groups.
        epochs: how often the groups are trained on.
        distillation: metrics of the distillation, which the result carries.

    Raises:
        BackendError: a loss is not finite, or a sequence exceeds the context.
    """
    losses, steps = [], []
    for _ in range(epochs):
        for minibatch in split_groups(groups, minibatches):
            losses.append(policy.forward_backward(minibatch, objective))
            steps.append(policy.optimizer_step(learning_rate))
    last = next((s for s, loss in zip(reversed(steps), reversed(losses), strict=True) if loss.tokens), steps[-1])
    return Update(over_updates(losses), last, distillation, steps[0].version - 1)


def split_groups(groups: Sequence[TokenGroup], count: int) -> Iterator[list[TokenGroup]]:
    """The groups in `count` minibatches of nearly equal size, in order; fewer where there are fewer groups."""
    bounds = np.linspace(0, len(groups), min(count, len(groups)) + 1).astype(int)
    for start, end in itertools.pairwise(bounds):
        yield list(groups[start:end])


def with_old_log_probs(policy: Policy, groups: Sequence[TokenGroup]) -> list[TokenGroup]:
    """The groups with log-probabilities recomputed by the policy before its first update of the step."""
    return [
        replace(
            group,
            completions=tuple(
                replace(completion, old_log_probs=values)
                for completion, values in zip(group.completions, rows, strict=True)
            ),
        )
        for group, rows in zip(groups, policy.log_probs(groups), strict=True)
    ]


def without_old_log_probs(groups: Sequence[TokenGroup]) -> list[TokenGroup]:
    """The groups with the sampler's log-probabilities as the old ones."""
    return [
        replace(group, completions=tuple(replace(one, old_log_probs=None) for one in group.completions))
        for group in groups
    ]
