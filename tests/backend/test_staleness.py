"""How far behind the weights are that sampled a group's tokens."""

from __future__ import annotations

import numpy as np

from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup, staleness


def completion(mask: list[int], versions: list[int] | None) -> TokenCompletion:
    values = np.array(mask, dtype=np.float32)
    return TokenCompletion(
        np.arange(len(mask)), values, -values, versions=None if versions is None else np.array(versions)
    )


def test_the_oldest_trained_token_counts() -> None:
    group = TokenGroup(np.array([1]), (completion([1, 0, 1], [4, 2, 5]), completion([0, 0], [0, 0])))
    assert staleness([group], 5) == 1
    assert staleness([group], 4) == 0


def test_tokens_that_no_policy_sampled_are_not_stale() -> None:
    assert staleness([TokenGroup(np.array([1]), (completion([1], None),))], 7) == 0
