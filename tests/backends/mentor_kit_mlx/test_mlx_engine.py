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
from mentor_kit.testing.rows import EngineFactory, RowsContract


class TestMLXRows(RowsContract):
    @pytest.fixture
    def engine_factory(self, folder: Path) -> EngineFactory:
        return lambda **options: load(folder, **options).engine()


def test_memory_is_held_while_sessions_grow(tmp_path: Path) -> None:
    """Many short sessions, then few long ones: buffers that only grew would take rows and positions of both."""
    folder = write_student(tmp_path, LlamaConfig(**SHAPE | {"max_position_embeddings": 512}))
    engine, alone = load(folder, memory=4e-3).engine(), load(folder).engine()
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
