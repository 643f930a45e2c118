"""The memory of keys and values: kept within its limit, waited for, and refused where it could never be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_students import SHAPE, load, write_student
from transformers import LlamaConfig

from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import drive, request

#: Two layers, keys and values, two heads of 8 numbers of four bytes.
POSITION = 2 * 2 * 2 * 8 * 4
ROW = 128 * POSITION


class Watched:
    """An engine that remembers the most bytes its caches held."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.most = engine, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def step(self) -> Any:
        done = self.engine.step()
        self.most = max(self.most, self.engine.device.nbytes)
        return done


def test_sequences_that_find_no_room_wait(folder: Path) -> None:
    requests = [request(f"{i}", [1 + i, 2, 3], temperature=0.9, max_new_tokens=3 + i, seed=i) for i in range(7)]
    free = drive(load(folder).engine(), requests)
    engine = Watched(load(folder, kv_memory=2 * ROW / 2**30).engine())
    bound = drive(engine, requests)
    assert {name: one.ids for name, one in bound.items()} == {name: one.ids for name, one in free.items()}
    assert engine.most == 2 * ROW


@given(st.data())
@settings(max_examples=settings.default.max_examples // 3)
def test_any_dialogues_stay_within_the_limit(folder: Path, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 3))
    engine, free = Watched(load(folder, kv_memory=rows * ROW / 2**30).engine()), load(folder).engine()
    contexts = {f"s{i}": list(data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=20))) for i in range(5)}
    for turn in range(3):
        speaking = data.draw(st.sets(st.sampled_from(sorted(contexts)), min_size=1))
        requests = [
            request(f"{s}.{turn}", contexts[s], session=s, temperature=0.0, max_new_tokens=data.draw(st.integers(1, 8)))
            for s in sorted(speaking)
        ]
        done, expected = drive(engine, requests), drive(free, requests)
        for one in requests:
            assert done[one.id].ids == expected[one.id].ids
            contexts[one.session] += [*done[one.id].ids, 5]
    assert engine.most <= rows * ROW


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that takes 512 tokens."""
    return write_student(tmp_path_factory.mktemp("long"), LlamaConfig(**SHAPE | {"max_position_embeddings": 512}))


@given(st.integers(130, 250), st.integers(2, 6), st.integers(0, 400))
@settings(max_examples=settings.default.max_examples // 3)
def test_a_kept_beginning_is_within_the_limit_with_its_whole_buffer(
    long: Path, beginning: int, count: int, more: int
) -> None:
    limit = 3 * ROW + more * POSITION
    engine = Watched(load(long, kv_memory=limit / 2**30).engine())
    prompts = [[*(1 + i % 90 for i in range(beginning)), 5 + i] for i in range(count)]
    requests = [request(f"{i}", prompt, max_new_tokens=4, seed=i) for i, prompt in enumerate(prompts)]
    found, expected = drive(engine, requests), drive(load(long).engine(), requests)
    assert {name: one.ids for name, one in found.items()} == {name: one.ids for name, one in expected.items()}
    assert 2 * ROW <= engine.most <= limit


def test_a_sequence_that_could_never_have_room_is_refused(folder: Path) -> None:
    engine = load(folder, kv_memory=ROW / 2 / 2**30).engine()
    with pytest.raises(BackendError, match=r"up to 14 tokens needs .* `backend.kv_memory` allows"):
        engine.submit(request("a", [1, 2, 3], max_new_tokens=10))
    assert not engine.busy
