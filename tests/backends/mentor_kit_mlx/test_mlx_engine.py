"""How the engine saves work: what is prefilled, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_students import load
from torch_students import SHAPE, write_student
from transformers import LlamaConfig

from mentor_kit.testing.events import Events
from mentor_kit.testing.material import drive, request


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the ids of every forward pass."""
    seen: list[tuple[int, ...]] = []
    from mentor_kit_mlx.lm_wrapper import MLXLMWrapper

    plain = MLXLMWrapper.hidden

    def hidden(self: MLXLMWrapper, ids: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(tuple(ids.shape))
        return plain(self, ids, *args, **kwargs)

    monkeypatch.setattr(MLXLMWrapper, "hidden", hidden)
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


def test_a_latecomer_copies_what_another_row_holds(folder: Path, passes: list[tuple[int, ...]]) -> None:
    engine = load(folder).engine()
    prompt = list(range(1, 31))
    first = drive(engine, [request("a", prompt, max_new_tokens=3, seed=1)])["a"]
    passes.clear()
    late = drive(engine, [request("b", prompt, max_new_tokens=3, seed=1)])["b"]
    assert passes == [(1, 1), (1, 1), (1, 1)]
    assert late.ids == first.ids
    assert late.log_probs == pytest.approx(first.log_probs, abs=1e-5)


def test_rows_with_the_same_tokens_are_run_once(folder: Path, passes: list[tuple[int, ...]]) -> None:
    engine = load(folder).engine()
    passes.clear()
    prompts = [[1, 2, 3], [4, 5, 6]]
    asked = [
        request(f"{p} {g}", prompts[p], max_new_tokens=4, seed=g, temperature=float(g > 2))
        for p in range(2)
        for g in range(6)
    ]
    found = drive(engine, asked)
    beginnings = [len({(*one.context, *found[one.id].ids[:n]) for one in asked}) for n in (1, 2, 3)]
    assert 2 < beginnings[0] < 8
    assert [width for _, width in passes] == [3, 1, 1, 1]
    # a pass has a quarter of idle rows at most
    for (rows, _), needed in zip(passes[1:], beginnings, strict=True):
        assert needed <= rows <= needed / 0.75
    alone = load(folder).engine()
    for one in asked:
        twin = drive(alone, [one])[one.id]
        alone.release(one.session)
        assert found[one.id].ids == twin.ids
        assert found[one.id].log_probs == pytest.approx(twin.log_probs, abs=1e-5)


def test_memory_is_held_while_sessions_grow(tmp_path: Path) -> None:
    """Many short sessions, then few long ones: buffers that only grew would take rows and positions of both."""
    folder = write_student(tmp_path, LlamaConfig(**SHAPE | {"max_position_embeddings": 512}))
    engine, alone = load(folder, memory=1.5e-3).engine(), load(folder).engine()
    limit = engine.budget.limit
    assert limit is not None
    contexts = {f"s{i}": [1 + i % 90, *range(1, 20)] for i in range(20)}
    most = 0
    for turn in range(4):
        live = list(contexts)[: 20 if turn == 0 else 4]
        for session in set(contexts) - set(live):
            engine.release(session)
        requests = [request(f"{s}.{turn}", contexts[s], session=s, max_new_tokens=2) for s in live]
        for one in requests:
            engine.submit(one)
        done = {}
        while engine.busy:
            done |= {completion.id: completion for completion in engine.step()}
            most = max(most, engine.device.nbytes)
        for one in requests:
            assert done[one.id].ids == drive(alone, [one])[one.id].ids
            alone.release(one.session)
            contexts[one.session] = [*one.context, *done[one.id].ids, *range(1, 70)]
    assert 0.5 * limit < most <= limit


def test_prefill_keeps_to_its_budget(folder: Path, passes: list[tuple[int, ...]]) -> None:
    engine = load(folder, prefill_chunk=16, token_budget=32).engine()
    passes.clear()
    drive(engine, [request(f"{i}", [i + 1, *range(1, 40)], max_new_tokens=1) for i in range(5)])
    assert max(rows * width for rows, width in passes) <= 32
    assert sum(rows * width for rows, width in passes) == 5 * 40


def test_chunks_that_end_no_prompt_give_no_logits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    from mentor_kit_mlx.lm_wrapper import MLXLMWrapper

    plain = MLXLMWrapper.logits
    engine = load(folder, prefill_chunk=16).engine()
    monkeypatch.setattr(
        MLXLMWrapper, "logits", lambda self, hidden: seen.append(tuple(hidden.shape)) or plain(self, hidden)
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


@settings(max_examples=settings.default.max_examples // 3, derandomize=True)
@given(data=st.data())
def test_any_order_of_events_gives_what_each_request_gives_alone(folder: Path, data: Any) -> None:
    # a new engine each time, as an example may be cut short
    events = Events(
        load(folder, slots=4, prefill_chunk=5).engine(), lambda options: data.draw(st.sampled_from(options))
    )
    events.play(data.draw(st.integers(5, 20)))
    events.check()
