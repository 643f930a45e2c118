"""Recurrent state, windows and shared keys on a device that is not the CPU, which a pretend one stands for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hybrid_students import write
from mentor_kit_torch.policy import TorchPolicy
from pretend_device import Pretending, device_is_there, load_there, pretend
from torch_students import load

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy
from mentor_kit.testing.material import drive, flat, ragged_groups, request
from mentor_kit.testing.objectives import make_objective
from mentor_kit.testing.sampling import SamplingContract

__all__ = ["pretend"]
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    write("lfm2", found := tmp_path_factory.mktemp("lfm2"))
    return found


@pytest.mark.slow
class TestHybridsOnADevice(SamplingContract):
    """Rows are given up and taken again all the time; prompts are prefilled in small parts."""

    draws = 60

    @pytest.fixture
    def policy_factory(self, folder: Path, pretend: Pretending) -> Callable[[int | None], Policy]:
        return lambda budget: load_there(folder, token_budget=budget or 64, slots=3, prefill_chunk=4)


def trace(policy: TorchPolicy) -> tuple[list[Any], list[float]]:
    """Two turns of a group and a shorter prompt, an update in between, and every number on the way."""
    asked = [request(f"{n}", [1, 2, 3, 4 + n // 2, 5][: 5 - n], temperature=0.8, max_new_tokens=3) for n in range(3)]
    policy.prepare(OptimizerSpec(eps=1e-4))
    tokens, numbers = [], []
    for _ in range(2):
        done = drive(policy.engine(), asked)
        tokens.append({name: found.ids for name, found in done.items()})
        numbers += [value for found in done.values() for value in found.log_probs]
        asked = [
            request(f"{one.id}+", [*one.context, *done[one.id].ids, 7], session=one.session, max_new_tokens=2)
            for one in asked
        ]
    numbers.append(policy.forward_backward(ragged_groups(100)[:2], make_objective(preset="rloo")).loss)
    numbers.append(policy.optimizer_step(1e-3).gradient_norm)
    return tokens, [*numbers, *flat(policy.log_probs(ragged_groups(100)[:2])).tolist()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3.5", "falcon-h1", "mamba", "mamba2", "gemma4"])
def test_a_device_gives_what_the_cpu_gives(name: str, tmp_path: Path) -> None:
    write(name, tmp_path)
    expected_tokens, expected_numbers = trace(load(tmp_path))
    with device_is_there():
        tokens, numbers = trace(load_there(tmp_path))
    assert tokens == expected_tokens
    np.testing.assert_allclose(numbers, expected_numbers, atol=1e-4, rtol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lfm2", "gemma4"])
def test_16_bits_on_a_device(name: str, tmp_path: Path, pretend: Pretending) -> None:
    """What is sampled in rows is what one pass over each sequence gives, up to rounding in the type."""
    write(name, tmp_path)
    policy = load_there(tmp_path, dtype="bfloat16")
    assert policy.engine().device.keeps_rows
    asked = [request(f"{n}", range(1 + n, 9), temperature=1.0, max_new_tokens=3, seed=n) for n in range(2)]
    done = drive(policy.engine(), asked)
    for one in asked:
        found = done[one.id]
        ids = policy.engine().device._tensor(np.array([[*one.context, *found.ids]]))
        places = policy.engine().device._tensor(np.arange(ids.shape[1])[None])
        whole = policy.lm.logits(policy.lm.hidden(ids, places))[0].float().log_softmax(-1).detach().cpu().numpy()
        rows = whole[len(one.context) - 1 : -1]
        np.testing.assert_allclose(found.log_probs, rows[np.arange(3), list(found.ids)], atol=0.05)


#: The most that one decoding pass of three layers does, two of them convolutions: kernels, copies to the device, waits
#: for it. They may only fall.
DECODING = {"kernels": 173, "to device": 4, "waits": 3}


@pytest.mark.slow
def test_a_decoding_pass_starts_no_more_kernels_and_waits_no_oftener_than_it_did(tmp_path: Path) -> None:
    write("lfm2", tmp_path)
    with device_is_there() as mode:
        policy = load_there(tmp_path)

        def counted(new: int) -> Any:
            with mode.counted() as counts:
                drive(policy.engine(), [request(f"{new}", [1, 2, 3], temperature=0.8, max_new_tokens=new)])
            policy.engine().release(f"{new}")
            return counts

        counted(3)
        few, many = counted(4), counted(14)
    found = {
        "kernels": (many.kernels - few.kernels) / 10,
        "to device": (many.to_device - few.to_device) / 10,
        "waits": (many.waits.total() + many.from_device - few.waits.total() - few.from_device) / 10,
    }
    assert all(found[name] <= DECODING[name] for name in DECODING), found
