"""The backend contract, held by two processes; `test_torch_processes.py` launches this, pytest does not collect it.

The first process runs the tests on the student that STUDENT names; the other one serves it.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from float64_trainer import Float64Trainer
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.policy_loading import load_here
from safetensors.numpy import load_file
from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultAllGather, DefaultReduceScatter
from torch_students import Float64Twin

from mentor_kit.backend.distributed.policy import DistributedPolicy
from mentor_kit.backend.distributed.worker import Worker
from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import MissingError
from mentor_kit.testing.backend import BackendContract
from mentor_kit.testing.material import GENTLE, Oracle, drive, ragged_groups, request
from mentor_kit.testing.objectives import make_objective
from mentor_kit.testing.training import GradientContract, Trainer, TrajectoryContract

#: Whether the processes hold a part of the weights each.
SHARD = os.environ.get("SHARD") == "1"
FOLDER = Path(os.environ["STUDENT"])
OPTIONS = TorchOptions(device="cpu", dtype="float32", threads=1)


def load(adapter: AdapterSpec | None = None, budget: int | None = None) -> DistributedPolicy:
    options = OPTIONS.model_copy(update={"token_budget": budget or 16384, "shard": SHARD})
    policy = TorchBackend(options).load(StudentSpec(str(FOLDER), adapter=adapter), seed=0)
    assert isinstance(policy, DistributedPolicy)
    return policy


@pytest.fixture
def oracle() -> Oracle:
    return Float64Twin(FOLDER)


@pytest.fixture
def trainer() -> Trainer:
    return Float64Trainer(FOLDER)


class TestTwoProcesses(BackendContract, GradientContract, TrajectoryContract):
    @pytest.fixture
    def policy_factory(self) -> Callable[[int | None], Policy]:
        return lambda budget: load(None, budget)


class TestTwoProcessesWithAnAdapter(BackendContract, GradientContract):
    @pytest.fixture
    def policy_factory(self) -> Callable[[int | None], Policy]:
        return lambda budget: load(AdapterSpec(rank=4, alpha=8.0), budget)


@pytest.mark.parametrize("adapter", [None, AdapterSpec(rank=4, alpha=8.0)], ids=["full", "lora"])
def test_the_update_is_that_of_one_process(adapter: AdapterSpec | None, tmp_path: Path) -> None:
    """Five steps of AdamW from the same rollouts: weights differ by rounding."""
    two, one = load(adapter), load_here(StudentSpec(str(FOLDER), adapter=adapter), OPTIONS, 0)
    before = weights(one, tmp_path / "before")
    for policy in (two, one):
        policy.prepare(OptimizerSpec())
        policy.snapshot_reference()
    for step in range(5):
        groups = ragged_groups(one.info.vocabulary, seed=step)
        metrics = [policy.forward_backward(groups, make_objective(preset="grpo", kl=0.1)) for policy in (two, one)]
        steps = [policy.optimizer_step(3e-4) for policy in (two, one)]
        assert metrics[0].tokens == metrics[1].tokens
        assert metrics[0].values == pytest.approx(metrics[1].values, rel=1e-4, abs=1e-6)
        assert steps[0].gradient_norm == pytest.approx(steps[1].gradient_norm, rel=1e-5)
    found, expected = weights(two, tmp_path / "two"), weights(one, tmp_path / "one")
    assert np.abs(expected - before).max() > 1e-3
    assert np.abs(found - expected).max() <= (1e-5 if SHARD else 2e-6)


@pytest.mark.parametrize("adapter", [None, AdapterSpec(rank=4, alpha=8.0)], ids=["full", "lora"])
def test_what_is_exchanged_is_what_a_dry_run_says(
    adapter: AdapterSpec | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    student = StudentSpec(str(FOLDER), adapter=adapter)
    load_ = MemoryLoad(sequences=4, context=64, train_tokens=0, optimizer=OptimizerSpec(), reference=False)
    expected = TorchBackend(OPTIONS.model_copy(update={"shard": SHARD})).estimate(student, load_)
    assert expected.processes == 2
    moved: dict[str, int] = defaultdict(int)
    for kind, side in ((DefaultAllGather, "output_tensor"), (DefaultReduceScatter, "input_tensor")):
        monkeypatch.setattr(kind, "__call__", counted(kind, side, moved))
    policy = load(adapter)
    policy.prepare(OptimizerSpec())
    traffic = policy.led.worker.communicator.traffic

    def exchanged(act: Callable[[], object]) -> tuple[int, int, int]:
        moved.clear()
        before = astuple(traffic)
        act()
        summed, _, gathered, scattered = (b - a for a, b in zip(before[2:], astuple(traffic)[2:], strict=True))
        # FSDP2 pads parameters whose rows cannot be divided evenly
        assert moved["output_tensor"] == pytest.approx(gathered, rel=0.02)
        assert moved["input_tensor"] == pytest.approx(scattered, rel=0.02)
        return summed, gathered, scattered

    groups = ragged_groups(policy.info.vocabulary)
    of = expected.exchanged
    sampled = exchanged(lambda: drive(policy.engine(), [request("a", [1, 2, 3])]))
    assert sampled == (0, of.get("weights, a rollout", 0), 0)
    updated = exchanged(lambda: policy.forward_backward(groups, make_objective(preset="sft")))
    assert updated == (0, of.get("weights, a micro-batch", 0), of.get("gradients, a micro-batch", 0))
    assert exchanged(lambda: policy.optimizer_step(1e-3)) == (of.get("gradients, a step", 0), 0, 0)
    before = traffic.gathered_bytes
    policy.export(tmp_path / "exported")
    assert traffic.gathered_bytes - before == of.get("weights, an export", 0)
    assert any(of.values())


def counted(kind: type, side: str, moved: dict[str, int]) -> Callable[..., object]:
    call = kind.__call__

    def count(self: object, **arguments: Any) -> object:
        moved[side] += arguments[side].numel() * arguments[side].element_size()
        return call(self, **arguments)

    return count


def test_sampling_is_divided_and_the_same() -> None:
    """Both processes hold half of the sessions, those of a group together, for as long as they last."""
    two, one = load(), load_here(StudentSpec(str(FOLDER)), OPTIONS, 0)
    prompts = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10 + p] for p in range(2)]
    requests = [request(f"{p}.{g}", prompts[p], max_new_tokens=20, seed=8 * p + g) for p in range(2) for g in range(3)]
    engine = two.engine()
    for item in requests:
        engine.submit(item)
    found = engine.step()
    assert engine._owner == {f"{p}.{g}": p for p in range(2) for g in range(3)}
    while engine.busy:
        found += engine.step()
    expected = drive(one.engine(), requests)
    assert [c.id for c in found] == [item.id for item in requests]
    assert {c.id: c.ids for c in found} == {name: c.ids for name, c in expected.items()}
    again = request("again", [*prompts[1], *expected["1.0"].ids, 3], session="1.0")
    assert drive(engine, [again])["again"].ids == drive(one.engine(), [again])["again"].ids
    assert engine._owner["1.0"] == 1
    for item in requests:
        engine.release(item.session)
    drive(engine, [request("next", [1])])
    assert engine._owner == {"next": 0}


def test_errors_of_any_process_are_the_first_ones_too() -> None:
    policy = load()
    policy.prepare(OptimizerSpec())
    groups = ragged_groups(policy.info.vocabulary)
    with pytest.raises(MissingError, match="process 1"):
        policy.led.run("fail")
    # all processes continue
    assert policy.forward_backward(groups, make_objective(preset="sft")).tokens > 0


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_where_one_has_no_memory_all_halve_the_budget(
    where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And results are those of an undisturbed update; gradients of an earlier call are there already."""
    disturbed, plain = load(), load()
    groups, objective = ragged_groups(100), make_objective(preset="grpo", kl=0.1)
    for policy in (disturbed, plain):
        policy.prepare(GENTLE)
        policy.snapshot_reference()
        policy.forward_backward(groups[:1], objective)
    disturbed.led.run("refuse", where=where)
    losses = [policy.forward_backward(groups, objective).loss for policy in (disturbed, plain)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    norms = [policy.optimizer_step(1e-2).gradient_norm for policy in (disturbed, plain)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    assert sum("out of memory" in line for line in caplog.messages) == 1
    found, expected = weights(disturbed, tmp_path / "disturbed"), weights(plain, tmp_path / "plain")
    assert np.abs(found - expected).max() <= 1e-6
    budget, other = disturbed.led.run("budget")
    assert budget == other < plain.own.token_budget
    # what was found is in the checkpoint, for each process
    again = load()
    again.restore(tmp_path / "disturbed")
    assert again.led.run("budget") == [budget, budget]
    losses = [policy.forward_backward(groups, objective).loss for policy in (disturbed, again)]
    assert losses[0] == losses[1]
    again.restore(tmp_path / "plain")
    assert again.led.run("budget") == [plain.own.token_budget] * 2


def test_budgets_are_found_from_the_least_memory(tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"token_budget": "auto", "shard": SHARD})

    def made() -> DistributedPolicy:
        policy = TorchBackend(options).load(StudentSpec(str(FOLDER)), seed=0)
        assert isinstance(policy, DistributedPolicy)
        return policy

    policy = made()
    policy.prepare(GENTLE)
    budgets = policy.led.run("budget")
    assert budgets[0] == budgets[1]
    policy.save(tmp_path)
    again = made()
    again.restore(tmp_path)
    assert again.led.run("budget") == budgets


def weights(policy: Policy, folder: Path) -> np.ndarray:
    policy.save(folder)
    found = load_file(folder / "weights.safetensors")
    return np.concatenate([value.ravel() for _, value in sorted(found.items())])


def _fail(worker: Worker) -> None:
    """For a test: the second process fails."""
    if worker.communicator.rank == 1:
        raise MissingError("nothing is there", hint="bring it")


def _refuse(worker: Worker, where: str) -> None:
    """For a test: the second process has no memory once, in the middle of a pass."""
    if worker.communicator.rank != 1:
        return
    first, last = worker.policy.model.model.layers[0], worker.policy.model.model.layers[-1]

    def refuse(*_: object) -> None:
        hook.remove()
        raise torch.OutOfMemoryError("a stand-in")

    if where == "forward":
        hook = last.self_attn.o_proj.register_forward_pre_hook(refuse)
    else:
        # when the last layer's gradients are added already
        hook = first.mlp.down_proj.register_full_backward_pre_hook(refuse)


def _budget(worker: Worker) -> int:
    """For a test: each process's token budget."""
    return worker.policy.token_budget


if __name__ == "__main__":
    Worker._fail, Worker._refuse, Worker._budget = _fail, _refuse, _budget
    if TorchBackend(TorchOptions(device="cpu")).serve():
        sys.exit(0)
    sys.exit(pytest.main([__file__, "-q", "-p", "no:cacheprovider", "--no-header", *sys.argv[1:]]))
