"""Micro-batches hold every trained token once, within the budget."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.batching import MicroBatch, micro_batches
from mentor_kit.objective import Objective
from mentor_kit.policy import TokenCompletion, TokenGroup


@st.composite
def ragged(draw: st.DrawFn) -> list[TokenGroup]:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    groups = []
    for _ in range(draw(st.integers(0, 4))):
        completions = []
        for count in draw(st.lists(st.integers(0, 9), max_size=5)):
            mask = (rng.random(count) < 0.6).astype(np.float32)
            old = rng.normal(size=count).astype(np.float32) if rng.random() < 0.5 else None
            advantage = float(rng.normal()) if rng.random() < 0.5 else rng.normal(size=count).astype(np.float32)
            values = rng.normal(size=count).astype(np.float32)
            completions.append(TokenCompletion(rng.integers(1, 50, count), mask, values, advantage, old))
        prompt = np.concatenate([[5, 6, 7][: draw(st.integers(0, 3))], rng.integers(1, 50, draw(st.integers(1, 12)))])
        prompt = prompt.astype(np.int64)
        groups.append(TokenGroup(prompt, tuple(completions), draw(st.sampled_from([0.5, 1.0]))))
    return groups


def without_padding(batch: MicroBatch) -> int:
    """Tokens of a micro-batch, those that begin every one of several prompts counted once."""
    prompts = [ids[:n].tolist() for ids, n in zip(batch.prompt_ids, batch.prompt_lengths, strict=True)]
    common = 0
    while len(prompts) > 1 and all(common < len(p) - 1 and p[common] == prompts[0][common] for p in prompts):
        common += 1
    assert batch.common == common
    return int(batch.prompt_lengths.sum()) - common * (len(prompts) - 1) + int(batch.lengths.sum())


@given(ragged(), st.integers(1, 60), st.sampled_from(["grpo", "dapo", "rloo"]), st.booleans())
def test_every_trained_token_is_there_once(groups: list[TokenGroup], budget: int, preset: str, packed: bool) -> None:
    objective = Objective(preset=preset)
    seen: dict[tuple[int, int], None] = {}
    weight = 0.0
    for batch in micro_batches(groups, budget, objective, packed=packed):
        rows = len(batch.lengths)
        size = without_padding(batch) if packed else batch.prompt_ids.size + batch.ids.size
        assert size <= budget or rows == 1
        assert batch.shared == (len(batch.prompt_lengths) < rows)
        for row, (g, c) in enumerate(batch.origin):
            assert (g, c) not in seen
            seen[g, c] = None
            group, completion = groups[g], groups[g].completions[c]
            length, place = int(batch.lengths[row]), int(batch.prompt_of[row])
            assert batch.prompt_ids[place, : batch.prompt_lengths[place]].tolist() == group.prompt_ids.tolist()
            assert batch.ids[row, :length].tolist() == completion.ids[:length].tolist()
            assert batch.mask[row].sum() == completion.mask.sum()  # what was cut off is untrained, and padding too
            assert batch.mask[row, length - 1] == 1
            assert batch.temperature[row] == group.temperature
            trained = completion.mask[:length] > 0
            expected = np.broadcast_to(completion.advantage, completion.mask.shape)[:length]
            np.testing.assert_array_equal(batch.advantages[row, :length], expected.astype(np.float32))
            old = completion.log_probs if completion.old_log_probs is None else completion.old_log_probs
            for found, wanted in ((batch.log_probs, completion.log_probs), (batch.old_log_probs, old)):
                np.testing.assert_array_equal(found[row, :length], np.where(trained, wanted[:length], 0))
                assert not found[row, length:].any()
            weight += float(batch.weights[row].sum())
    wanted = {(g, c) for g, group in enumerate(groups) for c, x in enumerate(group.completions) if x.mask.any()}
    assert list(seen) == sorted(wanted)
    if wanted and preset != "rloo":
        np.testing.assert_allclose(weight, 1.0, rtol=1e-5)


def test_an_example() -> None:
    def row(*mask: int) -> TokenCompletion:
        return TokenCompletion(
            np.arange(1, len(mask) + 1), np.array(mask, np.float32), -np.ones(len(mask), np.float32), 2
        )

    groups = [
        TokenGroup(np.array([7, 8]), (row(1, 0, 1, 0), row(0, 0), row(1))),
        TokenGroup(np.array([9]), (row(1, 1),)),
    ]
    first, second = micro_batches(groups, 8, Objective(preset="dapo"))
    assert first.prompt_ids.tolist() == [[7, 8]]
    assert first.ids.tolist() == [[1, 2, 3], [1, 0, 0]]
    assert first.mask.tolist() == [[1, 0, 1], [1, 0, 0]]
    assert first.weights.tolist() == [[np.float32(0.2), 0, np.float32(0.2)], [np.float32(0.2), 0, 0]]
    assert first.origin == ((0, 0), (0, 2))
    assert second.prompt_ids.tolist() == [[9]]
    assert second.origin == ((1, 0),)
    (whole,) = micro_batches(groups, 100)
    assert whole.prompt_ids.tolist() == [[7, 8], [9, 0]]
    assert whole.prompt_of.tolist() == [0, 0, 1]
    assert not whole.weights.any()


def test_packed_batches_hold_more() -> None:
    row = TokenCompletion(np.array([1, 2]), np.ones(2, np.float32), -np.ones(2, np.float32))
    long = TokenCompletion(np.arange(9), np.ones(9, np.float32), -np.ones(9, np.float32))
    groups = [TokenGroup(np.array([7, 8, 9, end]), (row, long)) for end in (1, 2, 3)]
    assert len(list(micro_batches(groups, 39, packed=True))) == 1  # 3 in common, 3 endings, 3 times 11
    assert len(list(micro_batches(groups, 38, packed=True))) == 2
    assert len(list(micro_batches(groups, 39))) == 2


def test_nothing() -> None:
    assert list(micro_batches([], 10)) == []
    assert list(micro_batches([TokenGroup(np.array([1]), ())], 10)) == []
