"""From scored trajectories and demonstrations to what an update takes: token groups."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.core.trajectory import TokenTrace
from mentor_kit.rl.reward import Scored


def by_problem(scored: Sequence[Scored], group: int) -> list[list[Scored]]:
    """The groups of trajectories that were played next to each other, `group` for each problem."""
    return [list(scored[start : start + group]) for start in range(0, len(scored), group)]


def token_group(traces: Sequence[TokenTrace], advantages: Sequence[float], *, trained: Sequence[bool]) -> TokenGroup:
    """One problem's traces as a group; those not `trained` have an empty mask, and so no part in the update."""
    completions = tuple(
        _completion(trace, advantage, keep) for trace, advantage, keep in zip(traces, advantages, trained, strict=True)
    )
    return TokenGroup(
        prompt_ids=np.asarray(traces[0].prompt_ids, dtype=np.int64),
        completions=completions,
        temperature=traces[0].temperature,
    )


def with_old(groups: Sequence[TokenGroup], old: Sequence[Sequence[np.ndarray]]) -> list[TokenGroup]:
    """The groups with log-probabilities recomputed before the update."""
    from dataclasses import replace

    return [
        replace(
            group,
            completions=tuple(
                replace(completion, old_log_probs=values)
                for completion, values in zip(group.completions, rows, strict=True)
            ),
        )
        for group, rows in zip(groups, old, strict=True)
    ]


def parts(groups: Sequence[TokenGroup], count: int) -> Iterator[list[TokenGroup]]:
    """The groups in `count` parts of nearly equal size, in order; fewer where there are fewer groups."""
    bounds = np.linspace(0, len(groups), min(count, len(groups)) + 1).astype(int)
    for start, end in itertools.pairwise(bounds):
        yield list(groups[start:end])


def _completion(trace: TokenTrace, advantage: float, keep: bool) -> TokenCompletion:
    mask = np.asarray(trace.mask, dtype=np.float32)
    return TokenCompletion(
        ids=np.asarray(trace.ids, dtype=np.int64),
        mask=mask if keep else np.zeros_like(mask),
        log_probs=np.asarray(trace.log_probs, dtype=np.float32),
        advantage=advantage,
    )
