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

from mentor_kit.backend.sampling import Completion, Engine
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.events import Events
from mentor_kit.testing.material import drive, log_softmax, request


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


def test_a_prompt_is_prefilled_once_for_all(folder: Path, passes: list[tuple[int, ...]]) -> None:
    engine = load(folder).engine()
    passes.clear()
    system = list(range(1, 41))
    requests = [
        request(f"{p}.{g}", [*system, 50 + p, 60, 61], max_new_tokens=3, seed=8 * p + g)
        for p in range(3)
        for g in range(4)
    ]
    drive(engine, requests)
    # the common part, the rest of three problems, two more tokens for all twelve
    assert passes == [(1, 40), (3, 3), (12, 1), (12, 1)]
    passes.clear()
    # while sessions are held, the common part is kept
    drive(engine, [request(f"new{i}", [*system, 70 + i], max_new_tokens=1) for i in range(2)])
    assert passes == [(2, 1)]


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


def test_turns_prefill_what_is_new(folder: Path, passes: list[tuple[int, ...]]) -> None:
    engine = load(folder).engine()
    first = drive(engine, [request("a", range(1, 31), session="s", max_new_tokens=5)])["a"]
    passes.clear()
    drive(engine, [request("b", [*range(1, 31), *first.ids, 7, 8, 9], session="s", max_new_tokens=1)])
    # the last sampled token was never put in
    assert passes == [(1, 4)]
    engine.release("s")
    passes.clear()
    drive(engine, [request("c", [*range(1, 31), *first.ids], session="s", max_new_tokens=1)])
    assert passes == [(1, 35)]


def test_rows_that_say_the_same_are_run_once(folder: Path, passes: list[tuple[int, ...]]) -> None:
    engine = load(folder).engine()
    passes.clear()
    prompts = [[1, 2, 3], [4, 5, 6]]
    asked = [
        request(f"{p} {g}", prompts[p], max_new_tokens=4, seed=g, temperature=float(g > 2), session=f"{6 * p + g}")
        for p in range(2)
        for g in range(6)
    ]
    found = drive(engine, asked)
    said = [(one.context, found[one.id].ids) for one in asked]
    beginnings = [len({(*prompt, *ids[:n]) for prompt, ids in said}) for n in (1, 2, 3)]
    assert 2 < beginnings[0] < 8
    assert beginnings[2] < 9
    # a pass has a quarter of idle rows at most
    assert [width for _, width in passes] == [3, 1, 1, 1]
    for (rows, _), needed in zip(passes[1:], beginnings, strict=True):
        assert needed <= rows <= needed / 0.75
    check_next_turns(folder, engine, [[*context, *ids] for context, ids in said])


@pytest.mark.parametrize("ends_first", [0, 1])
def test_one_that_says_the_same_may_end_earlier(folder: Path, ends_first: int) -> None:
    engine = load(folder).engine()
    asked = [
        request(f"{i}", [1, 2, 3], max_new_tokens=2 if i == ends_first else 6, temperature=0.0, session=f"{i}")
        for i in range(2)
    ]
    for one in asked:
        engine.submit(one)
    early: list[Completion] = []
    while not early:
        early = engine.step()
    # while the other one still speaks
    turn = request("turn", [1, 2, 3, *early[0].ids, 7], session=f"{ends_first}", max_new_tokens=2)
    found = {early[0].id: early[0], **drive(engine, [turn])}
    assert early[0].id == f"{ends_first}"
    assert early[0].ids == found[f"{1 - ends_first}"].ids[:2]
    assert found["turn"].ids == drive(load(folder).engine(), [turn])["turn"].ids
    check_next_turns(folder, engine, [[*asked[i].context, *found[f"{i}"].ids] for i in range(2)])


def test_those_that_part_disturb_nobody_who_waits(folder: Path) -> None:
    greedy = request("1.0", [4, 5, 6], max_new_tokens=12, temperature=0.0, session="2")
    said = drive(load(folder).engine(), [greedy])["1.0"].ids
    for seed in range(100):  # one that says the same for long enough, then something else
        other = request("1.1", [4, 5, 6], max_new_tokens=12, temperature=0.5, seed=seed, session="3")
        found = drive(load(folder).engine(), [other])["1.1"].ids
        if found[:5] == said[:5] and found[5:-1] != said[5:-1]:
            break
    engine = load(folder).engine()
    early = [
        request(f"0.{i}", [1, 2, 3], max_new_tokens=3, temperature=0.0 if i == 0 else 1.0, session=f"{i}")
        for i in range(2)
    ]
    answers = drive(engine, [early[0], greedy, early[1], other])
    assert answers["1.1"].ids == found
    assert answers["1.0"].ids == said
    order = ("0.0", "0.1", "1.0", "1.1")
    contexts = [[1, 2, 3] if name < "1" else [4, 5, 6] for name in order]
    check_next_turns(
        folder, engine, [[*context, *answers[name].ids] for context, name in zip(contexts, order, strict=True)]
    )


def check_next_turns(folder: Path, engine: Engine, contexts: list[list[int]]) -> None:
    """Sessions 0, 1, … go on as new ones do."""
    for i, context in enumerate(contexts):
        asked = request(f"next {i}", [*context, 7], session=f"{i}", max_new_tokens=5)
        here, there = (drive(one, [asked])[asked.id] for one in (engine, load(folder).engine()))
        assert here.ids == there.ids
        np.testing.assert_allclose(here.log_probs, there.log_probs, atol=1e-4)


@pytest.mark.parametrize("crowd", [False, True], ids=["alone", "with a new one"])
@pytest.mark.parametrize("end", ["cancel", "release"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_those_that_ride_go_on_without_their_leader(folder: Path, end: str, which: int, crowd: bool) -> None:
    engine = load(folder).engine()
    asked = [request(f"{i}", [1, 2, 3], max_new_tokens=6, temperature=0.0) for i in range(3)]
    for one in asked:
        engine.submit(one)
    engine.step()
    engine.step()
    getattr(engine, end)(f"{which}")
    found = drive(engine, [request("new", [9, 8, 7], max_new_tokens=6)] if crowd else [])
    alone = load(folder).engine()
    expected = drive(alone, [asked[0], request("new", [9, 8, 7], max_new_tokens=6)])
    for name in {"0", "1", "2", *(["new"] if crowd else [])} - {f"{which}"}:
        twin = expected["new" if name == "new" else "0"]
        assert found[name].ids == twin.ids
        np.testing.assert_allclose(found[name].log_probs, twin.log_probs, atol=1e-4)


def test_prefill_keeps_to_its_budget(folder: Path, passes: list[tuple[int, ...]]) -> None:
    engine = load(folder, prefill_chunk=16, token_budget=32).engine()
    passes.clear()
    drive(engine, [request(f"{i}", [i + 1, *range(1, 40)], max_new_tokens=1) for i in range(5)])
    assert max(rows * width for rows, width in passes) <= 32
    assert sum(rows * width for rows, width in passes) == 5 * 40


def test_new_weights_while_requests_run(folder: Path) -> None:
    policy = load(folder)
    engine = policy.engine()
    for i in range(3):
        engine.submit(request(f"{i}", [1, 2, 3], max_new_tokens=6))
    engine.step()
    policy.weights_changed(1)
    found = []
    while engine.busy:
        found += engine.step()
    assert [(c.id, len(c.ids), c.version) for c in found] == [(f"{i}", 6, 1) for i in range(3)]
    assert engine.used_rows == 3
    for i in range(3):
        engine.release(f"{i}")
    assert len(drive(engine, [request("x", [4])])["x"].ids) == 8


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
