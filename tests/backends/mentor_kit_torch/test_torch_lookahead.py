"""Decoding one pass ahead: the tokens, log-probabilities and order that decoding pass by pass gives, to the bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_torch.row_device import TorchRowDevice
from mentor_kit_torch.uniforms import uniforms as device_uniforms
from torch_students import SHAPE, load, write_student
from transformers import LlamaConfig

from mentor_kit.backend.engine import StepEngine
from mentor_kit.testing.events import Events
from mentor_kit.testing.material import drive, request
from mentor_kit.utils.randomness import mixed_seeds, uniforms

PLACES = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**31))


@given(st.lists(PLACES, min_size=1, max_size=20))
def test_uniform_numbers_of_the_device_are_those_of_numpy(places: list[tuple[int, int]]) -> None:
    seeds = np.array([seed for seed, _ in places], dtype=np.uint64)
    positions = np.array([position for _, position in places])
    found = device_uniforms(torch.from_numpy(mixed_seeds(seeds).view(np.int64)), torch.from_numpy(positions))
    assert found.tolist() == uniforms(seeds, positions).tolist()


@pytest.fixture(scope="module", params=[False, True], ids=["copied beginning", "kept beginning"])
def engines(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[StepEngine, StepEngine]]:
    """One that decodes ahead, and one that does not."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr("mentor_kit.backend.row_allocator.SHORTEST_SHARED", 2)
            patch.setattr("mentor_kit.backend.row_allocator.SHORTEST_ATTACHED", 2)
        plain = load(folder, slots=4, prefill_chunk=5).engine()
        patch.setattr("mentor_kit_torch.policy.TorchRowDevice", partial(TorchRowDevice, decodes=True))
        ahead = load(folder, slots=4, prefill_chunk=5).engine()
        assert ahead.device.decodes
        assert not plain.device.decodes
        yield ahead, plain


class Order:
    """What a device is asked for while it decodes: `put`, `launch 1`, `read 1` …"""

    def __init__(self, device: Any, patch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        begin, decode = device.begin_decoding, device.decode

        def begin_decoding(rows: Any) -> None:
            self.events.append("put")
            begin(rows)

        def decode_and_read(length: int) -> Any:
            number = sum(event.startswith("launch") for event in self.events) + 1
            self.events.append(f"launch {number}")
            read = decode(length)

            def reading() -> Any:
                self.events.append(f"read {number}")
                return read()

            return reading

        patch.setattr(device, "begin_decoding", begin_decoding)
        patch.setattr(device, "decode", decode_and_read)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 12))])
def test_any_order_of_events_gives_the_same_bits(engines: tuple[StepEngine, StepEngine], seed: int) -> None:
    played = []
    for engine in engines:
        chooser = random.Random(seed)
        events = Events(engine, lambda options, chooser=chooser: chooser.choice(options))  # type: ignore[misc]
        events.play(40)
        played.append(events.found)
    assert played[0] == played[1]


def test_filters_and_temperatures_that_end_give_the_same_bits(engines: tuple[StepEngine, StepEngine]) -> None:
    """Whether anything is filtered or greedy changes the draw of all, so it must be seen at once."""
    kinds: list[dict[str, Any]] = [{"top_p": 0.7}, {"top_k": 3}, {"temperature": 0.0}, {"temperature": 1.3}]
    asked = [
        request(f"{i}", [1, 2, 3 + i], max_new_tokens=4 + 3 * i, stop_ids=frozenset([5, 9]), **kind)
        for i, kind in enumerate(kinds)
    ]
    found = []
    for engine in engines:
        found.append(drive(engine, asked))
        for one in asked:
            engine.release(one.session)
    assert found[0] == found[1]


def test_passes_are_launched_before_the_last_one_is_read(
    engines: tuple[StepEngine, StepEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines[0]
    order = Order(engine.device, monkeypatch)
    drive(engine, [request("one", [1, 2, 3], max_new_tokens=9)])
    engine.release("one")
    # the first token comes from the prompt; of the eight others each is read once, one pass behind what is launched
    assert order.events[:3] == ["put", "launch 1", "read 1"]
    assert order.events[3:-1] == [
        *("launch 2", "launch 3", "read 2", "launch 4", "read 3", "launch 5", "read 4"),
        *("launch 6", "read 5", "launch 7", "read 6", "launch 8", "read 7"),
    ]
    assert order.events[-1] == "read 8"


def test_a_row_that_stops_is_run_once_more_and_the_rest_is_not_given_anew(
    engines: tuple[StepEngine, StepEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, plain = engines
    contexts = {f"{i}": [1 + i, 2, 3] for i in range(4)}
    whole = drive(plain, [request(name, ids, max_new_tokens=14) for name, ids in contexts.items()])
    for name in contexts:
        plain.release(name)
    stop = next(i for i in range(3, 10) if whole["0"].ids[i] not in whole["0"].ids[:i])
    order = Order(engine.device, monkeypatch)
    asked = [
        request(name, ids, max_new_tokens=14, stop_ids=frozenset([whole["0"].ids[stop]] if name == "0" else []))
        for name, ids in contexts.items()
    ]
    found = drive(engine, asked)
    for name in contexts:
        engine.release(name)
    assert found["0"].finish == "stop"
    assert found["0"].ids == whole["0"].ids[: stop + 1]
    assert {name: found[name].ids for name in "123"} == {name: whole[name].ids for name in "123"}
    assert order.events.count("put") == 1
    assert sum(event.startswith("launch") for event in order.events) == 13


@pytest.mark.parametrize("group", [1, 3])
def test_within_a_limit_room_is_made_once_for_all_that_rows_may_become(
    group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_student(tmp_path, LlamaConfig(**SHAPE | {"max_position_embeddings": 512}))
    monkeypatch.setattr("mentor_kit_torch.policy.TorchRowDevice", partial(TorchRowDevice, decodes=True))
    prompts = [[1 + i, *range(2, 30)] for i in range(4 // group + 1)]
    asked = [
        request(f"{p}.{g}", prompt, session=f"{p}.{g}", seed=g, max_new_tokens=200, temperature=1.0)
        for p, prompt in enumerate(prompts)
        for g in range(group)
    ]
    engine, plain = (load(folder, slots=8, kv_memory=limit).engine() for limit in (0.01, None))
    made: list[tuple[int, int]] = []
    reserve = engine.device.reserve

    def watched(rows: int, positions: int) -> None:
        made.append((rows, positions))
        reserve(rows, positions)

    monkeypatch.setattr(engine.device, "reserve", watched)
    found, expected = drive(engine, asked), drive(plain, asked)
    assert {positions for _, positions in made} == {256}  # 29 and 200 tokens
    for name, completion in expected.items():
        assert found[name].ids == completion.ids
        np.testing.assert_array_equal(found[name].log_probs, completion.log_probs)
