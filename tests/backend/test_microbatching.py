"""Micro-batches hold every trained token once, within the budget."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.backend.microbatching import MicroBatch, micro_batches
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.testing.objectives import make_objective


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
            ids = rng.integers(1, 50, count)
            if completions and rng.random() < 0.4:  # it says what another one says, perhaps with another mask
                ids = completions[rng.integers(len(completions))].ids
                mask, values = (rng.random(len(ids)) < 0.6).astype(np.float32), rng.normal(size=len(ids))
                if rng.random() < 0.7:
                    mask = next(other.mask for other in completions if other.ids is ids)
                values, old, advantage = values.astype(np.float32), None, float(rng.normal())
            completions.append(TokenCompletion(ids, mask, values, advantage, old))
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
    assert batch.common_prefix == common
    return int(batch.prompt_lengths.sum()) - common * (len(prompts) - 1) + int(batch.lengths.sum())


@given(ragged(), st.integers(1, 60), st.sampled_from(["grpo", "dapo", "rloo"]), st.booleans())
def test_every_trained_token_is_there_once(groups: list[TokenGroup], budget: int, preset: str, packed: bool) -> None:
    objective = make_objective(preset=preset)
    seen: dict[tuple[int, int], None] = {}
    weight = 0.0
    for batch in micro_batches(groups, budget, objective, packed=packed):
        rows = len(batch.lengths)
        said = [
            (place, tuple(ids[:n]), tuple(trained[:n]))
            for place, ids, trained, n in zip(batch.prompt_of, batch.ids, batch.trained, batch.lengths, strict=True)
        ]
        assert len(set(said)) == rows == len(set(batch.row_of.tolist()))
        firsts = [batch.row_of.tolist().index(row) for row in range(rows)]
        assert firsts == sorted(firsts)
        size = without_padding(batch) if packed else batch.prompt_ids.size + batch.ids.size
        assert size <= budget or rows == 1
        assert batch.shares_prompts == (len(batch.prompt_lengths) < rows)
        assert len(batch.row_of) == len(batch.origin) == len(batch.mask)
        for one, (row, (g, c)) in enumerate(zip(batch.row_of.tolist(), batch.origin, strict=True)):
            assert (g, c) not in seen
            seen[g, c] = None
            group, completion = groups[g], groups[g].completions[c]
            length, place = int(batch.lengths[row]), int(batch.prompt_of[row])
            assert batch.prompt_ids[place, : batch.prompt_lengths[place]].tolist() == group.prompt_ids.tolist()
            assert batch.ids[row, :length].tolist() == completion.ids[:length].tolist()
            assert batch.mask[one].sum() == completion.mask.sum()  # what was cut off is untrained, and padding too
            assert batch.mask[one, length - 1] == 1
            np.testing.assert_array_equal(batch.trained[row], batch.mask[one] > 0)
            assert batch.temperature[row] == group.temperature
            trained = completion.mask[:length] > 0
            expected = np.broadcast_to(completion.advantage, completion.mask.shape)[:length]
            np.testing.assert_array_equal(batch.advantages[one, :length], expected.astype(np.float32))
            old = completion.log_probs if completion.old_log_probs is None else completion.old_log_probs
            for found, wanted in ((batch.log_probs, completion.log_probs), (batch.old_log_probs, old)):
                np.testing.assert_array_equal(found[one, :length], np.where(trained, wanted[:length], 0))
                assert not found[one, length:].any()
            weight += float(batch.weights[one].sum())
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
    first, second = micro_batches(groups, 8, make_objective(preset="dapo"))
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


def test_what_is_said_again_takes_no_room() -> None:
    def completion(*ids: int, worth: float) -> TokenCompletion:
        ones = np.ones(len(ids), np.float32)
        return TokenCompletion(np.array(ids), ones, -ones, worth)

    said = [completion(1, 2, worth=1.0), completion(3, 4, worth=2.0), completion(1, 2, worth=-3.0)]
    first, second = TokenGroup(np.array([7, 8]), tuple(said)), TokenGroup(np.array([9]), tuple(said[2:]))
    for packed in (False, True):
        (batch,) = micro_batches([first], 6, packed=packed)
        assert batch.ids.tolist() == [[1, 2], [3, 4]]
        assert batch.row_of.tolist() == [0, 1, 0]
        assert batch.advantages[:, 0].tolist() == [1.0, 2.0, -3.0]
    (batch,) = micro_batches([first, second], 100)  # other prompts, other rows
    assert batch.row_of.tolist() == [0, 1, 0, 2]
    third = list(micro_batches([first], 4))[2]  # it comes too late for the first's micro-batch
    assert (third.ids.tolist(), third.row_of.tolist()) == ([[1, 2]], [0])


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
