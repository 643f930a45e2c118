"""Micro-batches whose trees have nodes of many lengths, and who sees whom in them; FlexAttention on a CPU for tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import strategies as st
from mentor_kit_torch.attention_trial import tree_fault
from mentor_kit_torch.tree import Tree
from torch.nn.attention import flex_attention

from mentor_kit.backend.microbatching import MicroBatch, micro_batches
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """FlexAttention's eager form with a gradient, which PyTorch refuses on a CPU: it is for tests alone."""
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    tree_fault.cache_clear()
    yield
    # what it was found to be here is not what it is elsewhere
    tree_fault.cache_clear()


def completion(ids: list[int]) -> TokenCompletion:
    ones = np.ones(len(ids), dtype=np.float32)
    return TokenCompletion(np.array(ids), ones, -ones)


def batch_of(groups: list[tuple[list[int], list[list[int]]]]) -> MicroBatch:
    made = [TokenGroup(np.array(prompt), tuple(map(completion, rows))) for prompt, rows in groups]
    (batch,) = micro_batches(made, 1 << 20, packed=True)
    return batch


LONG = batch_of(
    [
        ([*range(1, 90), *[5] * 200], [[6] * 40, [6] * 20 + [7] * 130, [8]]),
        ([*range(1, 90), *[4] * 90], [[1] * 300, [1] * 300 + [2] * 9, [3] * 17 + [1], [3] * 17 + [2]]),
    ]
)

runs = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), min_size=1, max_size=4).map(
    lambda parts: [token for token, count in parts for _ in range(count)]
)
groups = st.lists(st.tuples(runs, st.lists(runs, min_size=1, max_size=5)), min_size=1, max_size=3)


def seen(batch: MicroBatch, tree: Tree) -> np.ndarray:
    """(M, M): which tokens are those of a sequence up to a token, from sequences alone.

    A packed token is found by all tokens up to it: every trained sequence is walked from the root.
    """
    ids, positions = tree.ids[0].numpy(), tree.positions[0].numpy()
    found = np.zeros((len(ids), len(ids)), dtype=bool)
    assert tree.blocks is not None
    stops = tree.blocks.stops.numpy()
    for query in range(len(ids)):
        found[query] = (np.arange(len(ids)) <= query) & (query < stops)
        mine = np.nonzero(found[query])[0]
        # what it sees is one sequence: each position once, in order, up to its own
        assert positions[mine].tolist() == list(range(positions[query] + 1))
    return found
