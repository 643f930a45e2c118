"""Quantized keys and values: what they change, what they save, and that what is reported is what was drawn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.options import MLXOptions
from mlx_students import load
from torch_students import SHAPE, Float64Twin, write_student
from transformers import DynamicCache, LlamaConfig

from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import drive, group_of, log_softmax, request
from mentor_kit.testing.objectives import make_objective

#: Heads 64 wide: 32 and 64 divide it.
WIDE = SHAPE | {"hidden_size": 256, "initializer_range": 0.08}
PROMPTS = [list(range(1, 40)), [*range(1, 30), 50, 60], [7, 8, 9]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_student(tmp_path_factory.mktemp("student"), LlamaConfig(**WIDE, tie_word_embeddings=True))


def sampled(folder: Path, **options: Any) -> dict[str, Any]:
    requests = [request(f"{i}", prompt, max_new_tokens=10, temperature=0.8) for i, prompt in enumerate(PROMPTS)]
    return drive(load(folder, **options).engine(), requests)


class _Rounded(DynamicCache):
    """transformers' own cache, holding what MLX's quantization makes of keys and values."""

    def __init__(self, bits: int, group: int) -> None:
        super().__init__()
        self._how = {"bits": bits, "group_size": group}

    def update(self, keys: torch.Tensor, values: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return super().update(self._round(keys), self._round(values), *args, **kwargs)

    def _round(self, values: torch.Tensor) -> torch.Tensor:
        parts = mx.quantize(mx.array(values.float().numpy()), **self._how)
        return torch.tensor(np.array(mx.dequantize(*parts, **self._how))).to(values.dtype)


@pytest.mark.parametrize(("bits", "group"), [(8, 64), (8, 32), (4, 32), (6, 64)])
def test_log_probabilities_are_those_of_quantized_keys_and_values(folder: Path, bits: int, group: int) -> None:
    twin = Float64Twin(folder).model.float()
    gaps, errors = [], []
    for index, done in sampled(folder, kv_bits=bits, kv_group=group).items():
        context = PROMPTS[int(index)]
        exact, rounded = (
            log_softmax(logits, 0.8)[np.arange(len(done.ids)), list(done.ids)]
            for logits in (_logits(twin, context, done.ids, None), _logits(twin, context, done.ids, (bits, group)))
        )
        gaps.append(np.linalg.norm(rounded - exact))
        errors.append(np.linalg.norm(rounded - done.log_probs))
    # a value on the edge between two levels may fall on either, which is all that may differ
    assert np.linalg.norm(errors) < 0.1 * np.linalg.norm(gaps)


def _logits(model: Any, context: list[int], ids: tuple[int, ...], how: tuple[int, int] | None) -> np.ndarray:
    with torch.no_grad():
        given = {} if how is None else {"cache": _Rounded(*how)}
        logits = model(torch.tensor([[*context, *ids]]), **given).logits[0, len(context) - 1 : -1]
    return logits.double().numpy()


def test_eight_bits_are_close_and_four_less_so(folder: Path) -> None:
    gaps = []
    for bits in (8, 4):
        policy = load(folder, kv_bits=bits)
        requests = [request(f"{i}", prompt, max_new_tokens=10) for i, prompt in enumerate(PROMPTS)]
        done = drive(policy.engine(), requests)
        groups = [group_of(prompt, [done[str(i)]], [1.0]) for i, prompt in enumerate(PROMPTS)]
        policy.prepare(OptimizerSpec())
        # the update's log-probabilities are exact, so that the gap is the quantization's, and is reported
        values = policy.forward_backward(groups, make_objective(preset="dapo")).values
        exact = policy.log_probs(groups)
        gap = max(float(np.abs(row[0] - np.array(done[str(i)].log_probs)).max()) for i, row in enumerate(exact))
        assert values["mismatch_max"] == pytest.approx(gap, abs=1e-5)
        gaps.append(gap)
    assert 1e-5 < gaps[0] < 0.05
    assert 4 * gaps[0] < gaps[1] < 1.0


def test_sessions_go_on(folder: Path) -> None:
    engine = load(folder, kv_bits=8).engine()
    first = drive(engine, [request("a", PROMPTS[0], session="s", max_new_tokens=5)])["a"]
    context = [*PROMPTS[0], *first.ids, 7, 8]
    again = drive(engine, [request("b", context, session="s")])["b"]
    fresh = drive(load(folder, kv_bits=8).engine(), [request("b", context)])["b"]
    assert again.ids == fresh.ids
    np.testing.assert_allclose(again.log_probs, fresh.log_probs, atol=0.05)


@pytest.mark.parametrize(("bits", "group"), [(8, 64), (4, 32)])
def test_memory(folder: Path, bits: int, group: int) -> None:
    """Two layers, keys and values, two heads of width 64: their bits, and two float32 a group."""
    policy = load(folder, kv_bits=bits, kv_group=group)
    drive(policy.engine(), [request("a", PROMPTS[0], max_new_tokens=1)])
    one = 64 * bits // 8 + 2 * 4 * 64 // group
    device = policy.engine().device
    assert device.nbytes == device.rows * device.positions * 2 * 2 * 2 * one
    assert policy.engine().budget.position == 2 * 2 * 2 * one
    plain = load(folder)
    drive(plain.engine(), [request("a", PROMPTS[0], max_new_tokens=1)])
    assert device.nbytes / plain.engine().device.nbytes == one / (4 * 64) < (0.3 if bits == 8 else 0.26)
    options = MLXOptions(device="cpu", dtype="float32", kv_bits=bits, kv_group=group)
    asked = MemoryLoad(sequences=3, context=50, train_tokens=0)
    found = MLXBackend(options).estimate(StudentSpec(str(folder)), asked)
    assert found.parts["keys and values"] == 3 * 50 * 2 * 2 * 2 * one


def test_what_cannot_be_quantized_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"kv_bits"):
        load(folder, kv_bits=8, kv_group=128)
    with pytest.raises(BackendError, match=r"kv_bits"):  # heads 8 wide
        load(write_student(tmp_path), kv_bits=8)
