"""How the engine saves work: what is prefilled, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_students import Float64Twin, load

from mentor_kit.core.errors import BackendError
from mentor_kit.testing.events import Events
from mentor_kit.testing.material import drive, log_softmax, request
from mentor_kit.testing.rows import EngineFactory, RowsContract


class TestTorchRows(RowsContract):
    @pytest.fixture
    def engine_factory(self, folder: Path) -> EngineFactory:
        return lambda **options: load(folder, **options).engine()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the ids of every forward pass."""
    seen: list[tuple[int, ...]] = []
    from mentor_kit_torch.lm_wrapper import TorchLMWrapper

    plain = TorchLMWrapper.hidden

    def hidden(self: TorchLMWrapper, ids: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        seen.append(tuple(ids.shape))
        return plain(self, ids, *args, **kwargs)

    monkeypatch.setattr(TorchLMWrapper, "hidden", hidden)
    return seen


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Common beginnings of any length are kept once."""
    monkeypatch.setattr("mentor_kit.backend.row_allocator.SHORTEST_ATTACHED", 8)


@pytest.mark.usefixtures("keeping")
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_kept_beginning_gives_what_copies_give(folder: Path, temperature: float) -> None:
    system, twin = list(range(1, 31)), Float64Twin(folder)
    policy = load(folder)
    engine = policy.engine()
    contexts = {f"s{i}": [*system, *range(40, 41 + 2 * i)] for i in range(5)}
    for turn in range(3):
        requests = [
            request(f"{s}.{turn}", c, session=s, temperature=temperature, max_new_tokens=1 + 2 * turn + i)
            for i, (s, c) in enumerate(contexts.items())
        ]
        done = drive(engine, requests)
        assert engine.device.attached == 30
        # a row has places for its own tokens alone
        assert engine.device.positions == 128
        for item in requests:
            found = done[item.id]
            rows = log_softmax(twin([*item.context, *found.ids])[len(item.context) - 1 : -1], temperature or 1.0)
            np.testing.assert_allclose(found.log_probs, rows[np.arange(len(found.ids)), found.ids], atol=1e-4)
            if temperature == 0:
                assert list(found.ids) == rows.argmax(axis=-1).tolist()
            contexts[item.session] = [*item.context, *found.ids, 5, 6]
    # one that begins otherwise gives every row its own copy, and changes nothing
    others = [request("x", [9, 9, 9], temperature=temperature), request("y", contexts["s0"], session="s0", seed=3)]
    together = drive(engine, others)
    assert engine.device.attached == 0
    for item in others:
        alone = drive(load(folder).engine(), [item])[item.id]
        assert together[item.id].ids == alone.ids
        np.testing.assert_allclose(together[item.id].log_probs, alone.log_probs, atol=1e-4)


@pytest.mark.usefixtures("keeping")
def test_latecomers_find_the_kept_beginning(folder: Path, passes: list[tuple[int, ...]]) -> None:
    engine = load(folder, slots=2).engine()
    passes.clear()
    # one of the two slots is always held: without any session the engine starts afresh
    requests = [request(f"{i}", [*range(1, 31), 50 + i], max_new_tokens=count) for i, count in enumerate((1, 4, 1, 1))]
    for item in requests:
        engine.submit(item)
    found = []
    while engine.busy:
        new = engine.step()
        found += new
        for completion in new:
            engine.release(completion.id)
    assert len(found) == 4
    assert passes[0] == (1, 30)
    assert all(width == 1 for _, width in passes[1:])


@pytest.mark.usefixtures("keeping")
def test_new_weights_forget_the_kept_beginning(folder: Path) -> None:
    policy = load(folder)
    for i in range(3):
        policy.engine().submit(request(f"{i}", [*range(1, 31), 50 + i], max_new_tokens=6))
    policy.engine().step()
    assert policy.engine().device.attached == 30
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(0.9)
    policy.weights_changed(1)
    found = []
    while policy.engine().busy:
        found += policy.engine().step()
    again = {c.id: c for c in found}
    for i in range(3):
        first = again[f"{i}"].ids[0]
        rest = request("r", [*range(1, 31), 50 + i, first], max_new_tokens=5, seed=ord(str(i)))
        fresh = load(folder)
        with torch.no_grad():
            for parameter in fresh.model.parameters():
                parameter.mul_(0.9)
        assert drive(fresh.engine(), [rest])["r"].ids == again[f"{i}"].ids[1:]


def test_memory_that_runs_out_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load(folder)

    def full(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(policy.lm, "hidden", full)
    policy.engine().submit(request("a", [1]))
    with pytest.raises(BackendError, match="out of memory") as caught:
        policy.engine().step()
    assert "slots" in str(caught.value.hint)


@pytest.mark.parametrize("kept", [False, True], ids=["copied", "kept"])
@settings(max_examples=settings.default.max_examples // 2, derandomize=True)
@given(data=st.data())
def test_any_order_of_events_gives_what_each_request_gives_alone(folder: Path, kept: bool, data: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if kept:
            patch.setattr("mentor_kit.backend.row_allocator.SHORTEST_SHARED", 2)
            patch.setattr("mentor_kit.backend.row_allocator.SHORTEST_ATTACHED", 2)
        play_events(folder, data)


def play_events(folder: Path, data: Any) -> None:
    # a new engine each time, as an example may be cut short
    events = Events(
        load(folder, slots=4, prefill_chunk=5).engine(), lambda options: data.draw(st.sampled_from(options))
    )
    events.play(data.draw(st.integers(5, 25)))
    events.check()
