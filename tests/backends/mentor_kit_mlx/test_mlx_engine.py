"""How the engine saves work: what is prefilled, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_students import load

from mentor_kit.testing.events import Events
from mentor_kit.testing.material import drive, request


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the ids of every forward pass."""
    seen: list[tuple[int, ...]] = []
    from mentor_kit_mlx.lm_wrapper import LMWrapper

    plain = LMWrapper.hidden

    def hidden(self: LMWrapper, ids: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(tuple(ids.shape))
        return plain(self, ids, *args, **kwargs)

    monkeypatch.setattr(LMWrapper, "hidden", hidden)
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
    # while sessions are held, what they begin with is taken over
    drive(engine, [request(f"new{i}", [*system, 70 + i], max_new_tokens=1) for i in range(2)])
    assert passes == [(2, 1)]


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


def test_prefill_keeps_to_its_budget(folder: Path, passes: list[tuple[int, ...]]) -> None:
    engine = load(folder, prefill_chunk=16, token_budget=32).engine()
    passes.clear()
    drive(engine, [request(f"{i}", [i + 1, *range(1, 40)], max_new_tokens=1) for i in range(5)])
    assert max(rows * width for rows, width in passes) <= 32
    assert sum(rows * width for rows, width in passes) == 5 * 40


def test_chunks_that_end_no_prompt_give_no_logits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    from mentor_kit_mlx.lm_wrapper import LMWrapper

    plain = LMWrapper.logits
    engine = load(folder, prefill_chunk=16).engine()
    monkeypatch.setattr(
        LMWrapper, "logits", lambda self, hidden: seen.append(tuple(hidden.shape)) or plain(self, hidden)
    )
    done = drive(engine, [request("a", range(1, 41), max_new_tokens=2), request("b", range(2, 20), max_new_tokens=2)])
    # b ends in the second pass, a in the third, and both speak once more
    assert len(seen) == 3
    monkeypatch.undo()
    whole = drive(load(folder).engine(), [request("a", range(1, 41), max_new_tokens=2)])["a"]
    assert done["a"].ids == whole.ids


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
    for i in range(3):
        engine.release(f"{i}")
    assert len(drive(engine, [request("x", [4])])["x"].ids) == 8


def test_log_probabilities_are_those_of_the_temperature(folder: Path) -> None:
    """mlx-lm's own are taken before it."""
    engine = load(folder).engine()
    cold, hot = (
        drive(engine, [request(str(t), [1, 2, 3], temperature=t, max_new_tokens=1, top_k=1)])[str(t)]
        for t in (0.5, 2.0)
    )
    assert cold.ids == hot.ids
    assert cold.log_probs[0] > hot.log_probs[0] + 0.1


def test_the_stop_token_is_kept(folder: Path) -> None:
    """`batch_generate` drops it."""
    engine = load(folder).engine()
    free = drive(engine, [request("a", [1, 2], max_new_tokens=6)])["a"]
    held = drive(engine, [request("b", [1, 2], seed=ord("a"), stop_ids=frozenset({free.ids[0]}))])["b"]
    assert held.ids == free.ids[:1]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_order_of_events_gives_what_each_request_gives_alone(folder: Path, data: Any) -> None:
    # a new engine each time, as an example may be cut short
    events = Events(
        load(folder, slots=4, prefill_chunk=5).engine(), lambda options: data.draw(st.sampled_from(options))
    )
    events.play(data.draw(st.integers(5, 20)))
    events.check()
