"""Decoding on a device that a pretend one stands for: kernels, copies and waits, which may only become fewer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from mentor_kit_torch.few_kernels import join
from mentor_kit_torch.policy import TorchPolicy
from mentor_kit_torch.row_attention import RowAttention
from pretend_device import DEVICE, device_is_there, load_there
from torch_students import SHAPE, Float64Twin, load, write_student
from transformers.cache_utils import Cache

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.testing.material import drive, ragged_groups, request
from mentor_kit.testing.objectives import make_objective

KINDS: dict[str, dict[str, Any]] = {"LlamaConfig": {}, "Qwen2Config": {}, "Qwen3Config": {"head_dim": 8}}
#: Kernels of a layer, and those that a beginning takes besides that is kept once for all rows.
LAYER, BEGINNING = {"LlamaConfig": 13, "Qwen2Config": 13, "Qwen3Config": 14}, 5
#: Of the rest of a pass: embedding, positions, mask, logits, uniform numbers, the draw, and the state's next values.
REST = 93


def write(kind: str, layers: int, folder: Path) -> Path:
    config = getattr(transformers, kind)(**(SHAPE | KINDS[kind] | {"num_hidden_layers": layers}))
    return write_student(folder / f"{kind}{layers}", config)


def counted(folder: Path, **options: Any) -> dict[str, float]:
    """What a decoding pass of three rows with a common beginning does on the device, in the mean of ten."""
    with device_is_there() as mode:
        engine = load_there(folder, **options).engine()

        def sampled(new: int) -> Any:
            asked = [
                request(f"{new}.{i}", [*range(1, 31), 40 + i], temperature=0.8, seed=i, max_new_tokens=new)
                for i in range(3)
            ]
            with mode.counted() as counts:
                drive(engine, asked)
            for one in asked:
                engine.release(one.session)
            return counts

        sampled(3)
        few, many = sampled(4), sampled(14)
    return {
        "kernels": (many.kernels - few.kernels) / 10,
        "to device": (many.to_device - few.to_device) / 10,
        "waits": (many.waits.total() + many.from_device - few.waits.total() - few.from_device) / 10,
    }


@pytest.mark.slow
@pytest.mark.parametrize("kept", [False, True], ids=["copied beginning", "kept beginning"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_takes_few_kernels(kind: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kept:
        monkeypatch.setattr("mentor_kit.backend.row_allocator.SHORTEST_ATTACHED", 8)
    two, three = (counted(write(kind, layers, tmp_path)) for layers in (2, 3))
    assert three["kernels"] - two["kernels"] <= LAYER[kind] + BEGINNING * kept, (two, three)
    assert LAYER[kind] <= 14


def test_a_pass_copies_nothing_to_the_device_and_is_waited_for_once(folder: Path) -> None:
    found = counted(folder)
    assert found["kernels"] <= 2 * LAYER["LlamaConfig"] + REST, found
    assert found["to device"] == 0
    assert found["waits"] == 1


def test_rows_that_part_are_copied_without_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group's rows are one until they draw other tokens, mostly in its first passes: one copy of their places."""
    with device_is_there() as mode:
        engine = load_there(write("LlamaConfig", 3, tmp_path)).engine()
        found: list[tuple[int, int, int]] = []
        with mode.counted() as counts:
            copy = engine.device.copy

            def watched(*given: Any) -> None:
                before = counts.to_device, counts.from_device + counts.waits.total(), counts.kernels
                copy(*given)
                after = counts.to_device, counts.from_device + counts.waits.total(), counts.kernels
                found.append(tuple(b - a for a, b in zip(before, after, strict=True)))  # type: ignore[arg-type]

            monkeypatch.setattr(engine.device, "copy", watched)
            asked = [request(f"{i}", [*range(1, 31)], temperature=2.0, seed=i, max_new_tokens=6) for i in range(8)]
            done = drive(engine, asked)
        assert len({done[f"{i}"].ids for i in range(8)}) > 4
    assert found
    assert all((to_device, waits) == (1, 0) for to_device, waits, _ in found)
    # keys and values of a layer are read and written together
    assert all(kernels <= 1 + 2 * 3 for *_, kernels in found)


@pytest.mark.parametrize("heads", [2, 4, 6])
@pytest.mark.parametrize("tokens", [2, 7, 40])
def test_later_turns_of_several_tokens_attend_as_defined(heads: int, tokens: int) -> None:
    """Rows whose new tokens begin at different places: query heads of a key stand below each other, where few."""
    draws = torch.Generator().manual_seed(heads)
    query, key, value = (
        torch.randn(3, count, length, 8, generator=draws)
        for count, length in ((heads, tokens), (2, 61), (2, 61))
    )  # fmt: skip
    starts = torch.tensor([3, 20, 12])
    mask = (torch.arange(61) <= starts[:, None, None] + torch.arange(tokens)[:, None]).unsqueeze(1)
    scores = query @ key.repeat_interleave(heads // 2, dim=1).transpose(-1, -2) * 0.3
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    expected = weights @ value.repeat_interleave(heads // 2, dim=1)
    with device_is_there():
        plan = RowAttention(Cache(layers=[]), 0)
        moved = [part.to(DEVICE) for part in (query, key, value, mask)]
        for layer in range(2):  # the second one has the first one's mask
            found = plan.attend(layer, *moved, 0.3).cpu()
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [False, True], ids=["copied beginning", "kept beginning"])
def test_few_kernels_give_the_students_own_log_probabilities(
    kind: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of transformers in float64, of whole sequences, over turns."""
    if kept:
        monkeypatch.setattr("mentor_kit.backend.row_allocator.SHORTEST_ATTACHED", 8)
    folder = write(kind, 2, tmp_path)
    twin = Float64Twin(folder)
    with device_is_there():
        policy = load_there(folder)
        contexts = {f"{i}": [*range(1, 20), *range(40, 41 + 2 * i)] for i in range(3)}
        for turn in range(3):
            asked = [
                request(f"{name}.{turn}", ids, session=name, max_new_tokens=3 + turn) for name, ids in contexts.items()
            ]
            done = drive(policy.engine(), asked)
            for one in asked:
                ids = [*one.context, *done[one.id].ids]
                logits = twin(ids)[len(one.context) - 1 : -1]
                expected = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
                picked = expected[np.arange(len(logits)), list(done[one.id].ids)]
                np.testing.assert_allclose(done[one.id].log_probs, picked, atol=1e-4)
                contexts[one.session] = [*ids, 7]  # one token alone is prefilled in the next turn


@pytest.mark.parametrize("shortest", [8, 1 << 20], ids=["kept beginning", "copied beginning"])
def test_no_write_is_sorted(shortest: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In prefill, where rows are copied and moved, in filtered draws, and in an update but for what it adds up."""
    monkeypatch.setattr("mentor_kit.backend.row_allocator.SHORTEST_ATTACHED", shortest)
    with device_is_there() as mode:
        policy = load_there(folder, slots=4)
        policy.prepare(OptimizerSpec())
        assert torch.are_deterministic_algorithms_enabled()
        with mode.counted() as counts:
            for turn in range(3):
                asked = [
                    request(
                        f"{turn}.{i}", [*range(1, 20 - turn), *range(40, 42 + 2 * i)], top_p=0.9, max_new_tokens=2 + i
                    )
                    for i in range(6)
                ]
                drive(policy.engine(), asked)
                for one in asked[::2]:
                    policy.engine().release(one.session)
        assert counts.kernels
        assert counts.sorted_writes.total() == 0, counts.sorted_writes
        with mode.counted() as counts:
            policy.forward_backward(ragged_groups(100), make_objective(kl=0.0))
        assert {name for name, count in counts.sorted_writes.items() if count} == {"aten.index_add_"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_beginning_whose_last_chunk_is_one_token(dtype: str, tmp_path: Path) -> None:
    """Its keys, 9 and 17, are no multiple of what the attention kernel's bias is aligned to."""
    folder = write("LlamaConfig", 2, tmp_path)
    with device_is_there():
        engine = load_there(folder, dtype=dtype, prefill_chunk=4).engine()
        for length in (9, 17):
            asked = [request(f"{length}.{i}", [*range(1, length + 1), 40 + i], max_new_tokens=2) for i in range(3)]
            assert len(drive(engine, asked)) == 3


@pytest.mark.slow
def test_weights_that_lie_behind_each_other_are_trained_saved_and_exported(tmp_path: Path) -> None:
    folder = write("Qwen2Config", 2, tmp_path)
    here = load(folder)
    with device_is_there():
        there = load_there(folder)
        attention = there.model.model.layers[0].self_attn
        ends = attention.q_proj.weight.data_ptr() + attention.q_proj.weight.nbytes
        assert attention.k_proj.weight.data_ptr() == ends
        assert attention.q_proj.weight.requires_grad
        for policy in (here, there):
            updated(policy)
        found = {name: value.cpu() for name, value in there.trained().items()}
        there.save(tmp_path / "saved")
    for name, value in here.trained().items():
        torch.testing.assert_close(found[name], value, atol=2e-5, rtol=2e-4)
    here.restore(tmp_path / "saved")
    for name, value in here.trained().items():
        assert torch.equal(found[name], value), name
    # as the export writes it: weights that share memory are no shared tensors
    joined_model = load(folder)
    for layer in joined_model.model.model.layers:
        join((layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj))
    joined_model.export(tmp_path / "out", format="transformers")
    again = load(tmp_path / "out").trained()
    for name, value in joined_model.trained().items():
        assert torch.equal(again[name], value), name


def updated(policy: TorchPolicy) -> None:
    policy.prepare(OptimizerSpec(eps=1e-2))
    policy.forward_backward(ragged_groups(100), make_objective(kl=0.0))
    policy.optimizer_step(1e-3)


@pytest.mark.slow
def test_an_adapter_adds_its_own_products_alone(tmp_path: Path) -> None:
    folder = write("LlamaConfig", 2, tmp_path)
    with device_is_there():
        policy = load_there(folder, AdapterSpec(rank=4))
        assert policy.engine().device.decodes
        assert policy.lm.fused is not None
        assert policy.lm.fused.compiled is not None


@pytest.mark.slow
def test_kernels_that_err_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write("LlamaConfig", 2, tmp_path)
    monkeypatch.setattr("mentor_kit_torch.few_kernels._gated", lambda layer, states: layer.mlp.gate_proj(states))
    with device_is_there(), caplog.at_level("WARNING"):
        policy = load_there(folder)
        assert policy.lm.fused is not None
        assert policy.lm.fused.compiled is None
    lines = Counter(record.getMessage() for record in caplog.records if "few kernels" in record.getMessage())
    assert list(lines.values()) == [1]


@pytest.mark.slow
def test_one_token_of_a_later_row_is_prefilled_where_it_is(tmp_path: Path) -> None:
    """A pass over one token of rows that are not the first: their keys are elsewhere than a decoding pass's."""
    folder = write("LlamaConfig", 2, tmp_path)
    twin = Float64Twin(folder)
    with device_is_there():
        engine = load_there(folder).engine()
        contexts = {f"{i}": [1 + i, 2, 3, 4 + i] for i in range(3)}
        done = drive(engine, [request(f"{n}.0", c, session=n, max_new_tokens=2) for n, c in contexts.items()])
        ids = [*contexts["2"], *done["2.0"].ids]
        (found,) = drive(engine, [request("2.1", ids, session="2", max_new_tokens=1)]).values()
        logits = twin(ids)[-1]
    expected = logits[found.ids[0]] - np.log(np.exp(logits).sum())
    assert found.log_probs[0] == pytest.approx(expected, abs=1e-4)
