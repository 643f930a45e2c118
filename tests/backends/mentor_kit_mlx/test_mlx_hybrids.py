"""Models whose layers keep other state than one of keys and values each: sampled in rows as transformers has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hybrid_students import KINDS, RECURRENT, SHARING, WRAPPED, Twin, write
from hypothesis import given, settings
from hypothesis import strategies as st
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.options import MLXOptions
from mlx_students import load, memory_taken

from mentor_kit.backend.kv_budget import KVBudget
from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.events import Events
from mentor_kit.testing.material import drive, log_softmax, ragged_groups, request
from mentor_kit.testing.rows import EngineFactory, RowsContract

Student = tuple[Path, Twin]


@pytest.fixture(scope="module", params=list(KINDS))
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Twin]:
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, write(request.param, folder)


def tolerance(name: str) -> float:
    # mlx-lm rounds the scale of Gemma 3's embeddings to bfloat16
    return 1e-3 if name == "gemma3" else 1e-4


def expected(twin: Twin, context: Any, ids: Any, temperature: float) -> np.ndarray:
    rows = log_softmax(twin([*context, *ids])[len(context) - 1 : -1], temperature)
    found: np.ndarray = rows[np.arange(len(ids)), list(map(int, ids))]
    return found


def test_rows_turns_and_groups_are_those_of_transformers(student: tuple[str, Path, Twin]) -> None:
    name, folder, twin = student
    policy = load(folder)
    assert policy._keeps
    engine = policy.engine()
    assert engine.device.cuts_rows == (name not in RECURRENT)
    # two prompts with a common beginning and a short one, so that prefill is padded
    prompts = [list(range(1, 23)), [*range(1, 17), 50, 51, 52], [5, 2, 9]]
    first = [
        request(f"{p}.{g}", prompts[p], temperature=0.8, max_new_tokens=3 + 2 * g, seed=10 * p + g)
        for p in range(3)
        for g in range(2)
    ]
    done = drive(engine, first)
    turns = [
        request(f"{r.id}+", [*r.context, *done[r.id].ids, 5, 6], session=r.session, temperature=0.8, max_new_tokens=3)
        for r in first
    ]
    done |= drive(engine, turns)
    for one in [*first, *turns]:
        found = done[one.id]
        np.testing.assert_allclose(found.log_probs, expected(twin, one.context, found.ids, 0.8), atol=tolerance(name))


def test_log_probabilities_are_those_of_transformers(student: tuple[str, Path, Twin]) -> None:
    name, folder, twin = student
    policy = load(folder)
    for groups in (ragged_groups(100), ragged_groups(100, seed=1)[:1]):
        for group, rows in zip(groups, policy.log_probs(groups), strict=True):
            for completion, row in zip(group.completions, rows, strict=True):
                if len(row):
                    there = expected(twin, group.prompt_ids, completion.ids, 1.0) * completion.mask
                    np.testing.assert_allclose(row, there, atol=tolerance(name))


@pytest.mark.parametrize("name", sorted({*SHARING, *WRAPPED, "qwen3.5", "lfm2"}))
def test_logits_are_computed_where_they_are_needed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mentor_kit_mlx.lm_wrapper import MLXLMWrapper

    write(name, tmp_path)
    policy = load(tmp_path)
    assert policy.lm.split
    seen: list[tuple[int, ...]] = []
    plain = MLXLMWrapper.logits
    monkeypatch.setattr(
        MLXLMWrapper, "logits", lambda self, hidden: seen.append(tuple(hidden.shape)) or plain(self, hidden)
    )
    drive(policy.engine(), [request("a", range(1, 20), max_new_tokens=2), request("b", [7, 8], max_new_tokens=2)])
    # the hidden states of one position a row, of the model's width
    assert all(shape[0] <= 2 and shape[-1] == 32 and np.prod(shape) <= 64 for shape in seen)


@pytest.mark.parametrize("name", ["lfm2", "qwen3.5"])
def test_a_decoding_step_takes_no_more_memory_behind_a_long_prompt(name: str, tmp_path: Path) -> None:
    """Keys are read where they are, and state is of fixed size: what a step takes beside them does not grow."""
    write(name, tmp_path)
    engine = load(tmp_path, slots=4).engine()
    peaks = []
    for length in (10, 80):
        for i in range(4):
            engine.submit(request(f"{length}.{i}", [1 + i, *range(1, length)], max_new_tokens=4))
        engine.step()
        peaks.append(memory_taken(engine.step))
        drive(engine, [])
        for i in range(4):
            engine.release(f"{length}.{i}")
    # scores of attention alone: four rows, four heads, 70 more keys in float32, a few at a time
    assert peaks[1] <= peaks[0] + 8 * 4 * 4 * 70 * 4


@pytest.mark.parametrize("name", ["lfm2", "qwen3.5", "granite4", "gemma4"])
def test_rows_and_a_prefix_are_held_to_the_memory(name: str, tmp_path: Path) -> None:
    """By the bytes that MLX holds: of keys and values by position, and of what is of fixed size."""
    write(name, tmp_path)
    policy = load(tmp_path)
    size = policy._state_size
    assert (size.row > 0) == (name in RECURRENT)
    room = 5 * (128 * size.position + size.row) + 128 * size.position + size.row
    engine, alone = load(tmp_path).engine(), policy.engine()
    engine.budget = KVBudget(room, size.position, row=size.row)
    asked = [request(f"{i}", [*range(1, 20), i, i + 1], max_new_tokens=4, seed=i) for i in range(12)]
    for one in asked:
        engine.submit(one)
    found, most = {}, 0
    while engine.busy:
        found |= {done.id: done for done in engine.step()}
        most = max(most, engine.device.nbytes)
    assert 0.8 * room <= most <= room
    expected = drive(alone, asked)
    assert {key: done.ids for key, done in found.items()} == {key: done.ids for key, done in expected.items()}


def test_a_dry_run_counts_state_of_fixed_size(tmp_path: Path) -> None:
    write("lfm2", tmp_path)
    backend, spec = MLXBackend(MLXOptions(device="cpu", dtype="float32")), StudentSpec(str(tmp_path))
    parts = [
        backend.estimate(spec, MemoryLoad(sequences=4, context=count, train_tokens=0)).parts["keys and values"]
        for count in (0, 64)
    ]
    # two convolutions keep two positions of 32 numbers; one layer attends with two heads of eight
    assert parts == [4 * 2 * 2 * 32 * 4, 4 * (2 * 2 * 32 * 4 + 64 * 2 * 2 * 8 * 4)]


@pytest.mark.parametrize("width", [8, 16])
def test_heads_of_one_width_are_read_as_transformers_writes_them(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers 5 writes the widths of layers that differ, mlx-lm takes 512 where it reads none."""
    kind, shape = KINDS["gemma4"]
    monkeypatch.setitem(KINDS, "gemma4", (kind, shape | {"global_head_dim": width}))
    twin = write("gemma4", tmp_path)
    done = drive(load(tmp_path).engine(), [request("a", range(1, 12), max_new_tokens=4)])["a"]
    np.testing.assert_allclose(done.log_probs, expected(twin, range(1, 12), done.ids, 1.0), atol=1e-4)


def test_adapters_of_gemma_3n_leave_alone_what_its_layers_read_by_themselves(tmp_path: Path) -> None:
    write("gemma3n", tmp_path)
    policy = load(tmp_path, AdapterSpec(rank=2))
    adapted = [name for name, module in policy.model.named_modules() if hasattr(module, "lora_a")]
    assert any(name.endswith("modality_router") for name in adapted)
    assert not any(name.endswith("_coefs") for name in adapted)
    with pytest.raises(BackendError, match="targets"):
        load(tmp_path, AdapterSpec(rank=2, targets=("prediction_coefs",)))


@pytest.fixture(scope="module", params=["lfm2", "qwen3.5"])
def recurrent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    write(request.param, folder := tmp_path_factory.mktemp(request.param))
    return folder


@pytest.mark.slow
class TestRecurrentRows(RowsContract):
    @pytest.fixture
    def engine_factory(self, recurrent: Path) -> EngineFactory:
        return lambda **options: load(recurrent, **options).engine()


@pytest.mark.parametrize("name", ["lfm2", "mamba"])
@settings(max_examples=max(2, settings.default.max_examples // 10), derandomize=True)
@given(data=st.data())
def test_any_order_of_events_gives_what_each_request_gives_alone(
    name: str, data: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"events {name}"
    if not folder.exists():
        write(name, folder)
    # few slots and small chunks: rows are given up, and padded, all the time
    events = Events(
        load(folder, slots=4, prefill_chunk=5).engine(), lambda options: data.draw(st.sampled_from(options))
    )
    events.play(data.draw(st.integers(5, 20)))
    events.check()
