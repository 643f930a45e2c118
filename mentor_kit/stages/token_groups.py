"""From scored trajectories and demonstrations to token groups, which an update takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.core.trajectory import TokenTrace
from mentor_kit.rl.advantages.estimator import Outcomes
from mentor_kit.rl.reward import Scored


def outcomes(groups: Sequence[Sequence[Scored]], rewards: NDArray[np.float64]) -> Outcomes:
    """What an advantage estimator takes of N groups of G rollouts: their rewards, sampled tokens and endings.

    Args:
        groups: the rollouts.
        rewards: shape (N, G); they may differ from the rollouts' own.
    """
    traces = [[item.trajectory.tokens for item in group] for group in groups]
    lengths = [[0 if trace is None else trace.sampled for trace in row] for row in traces]
    ended = [[item.trajectory.ended for item in group] for group in groups]
    return Outcomes(rewards, np.array(lengths, dtype=rewards.dtype), np.array(ended, dtype=rewards.dtype))


def rollout_groups(
    groups: Sequence[Sequence[Scored]], advantages: NDArray[np.float64], *, mask_unended: bool = False
) -> list[TokenGroup]:
    """The token groups of a step's rollouts.

    A group in which nothing was sampled, as its prompt fills the context, is left out.

    Args:
        groups: N groups of G scored rollouts.
        advantages: shape (N, G).
        mask_unended: overlong masking, so that rollouts that did not end are not trained on (arXiv 2503.14476, 3.4).
    """
    found = []
    for group, row in zip(groups, advantages, strict=True):
        traces = [item.trajectory.tokens for item in group if item.trajectory.tokens is not None]
        if not any(trace.sampled for trace in traces):
            continue
        trained = [item.trajectory.ended or not mask_unended for item in group]
        found.append(token_group(traces, [float(value) for value in row], trained=trained))
    return found


def token_group(traces: Sequence[TokenTrace], advantages: Sequence[float], *, trained: Sequence[bool]) -> TokenGroup:
    """One problem's traces as a group; the mask of those not `trained` is all 0, so that an update leaves them out."""
    completions = tuple(
        _completion(trace, advantage, keep) for trace, advantage, keep in zip(traces, advantages, trained, strict=True)
    )
    return TokenGroup(
        prompt_ids=np.asarray(traces[0].prompt_ids, dtype=np.int64),
        completions=completions,
        temperature=traces[0].temperature,
    )


def _completion(trace: TokenTrace, advantage: float, keep: bool) -> TokenCompletion:
    mask = np.asarray(trace.mask, dtype=np.float32)
    return TokenCompletion(
        ids=np.asarray(trace.ids, dtype=np.int64),
        mask=mask if keep else np.zeros_like(mask),
        log_probs=np.asarray(trace.log_probs, dtype=np.float32),
        advantage=advantage,
        versions=_versions(trace),
    )


def _versions(trace: TokenTrace) -> np.ndarray | None:
    """The version that sampled each token; between turns, that of the turn before."""
    if not trace.turns:
        return None
    versions = np.full(len(trace.ids), trace.turns[0].version, dtype=np.int64)
    for turn in trace.turns:
        versions[turn.start :] = turn.version
    return versions
