"""Sampling's passes, recorded and replayed: a recording on the CPU stands for a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mentor_kit_torch.cuda_graphs import Work
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch_students import load

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import drive, request
from mentor_kit.testing.sampling import SamplingContract


class Tape(TorchDispatchMode):
    """PyTorch's operations in order, each with the very memory it read and wrote, as in a CUDA graph."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, found))
        return found

    def replay(self) -> None:
        for func, args, kwargs, found in self.calls:
            for old, new in zip(tree_leaves(found), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Tapes:
    """A recorder, which remembers what was done."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, work: Work) -> Work:
        with Tape() as tape:
            found = work()
        self.recorded += 1

        def replay() -> torch.Tensor:
            # what a recording gives must come from its replay alone
            found.fill_(torch.nan)
            tape.replay()
            self.replayed += 1
            return found

        return replay


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> Tapes:
    """Recordings are possible on the CPU."""
    found = Tapes()
    monkeypatch.setattr("mentor_kit_torch.policy.cuda_graphs", lambda device, keeps: found)
    return found


class TestRecorded(SamplingContract):
    @pytest.fixture
    def policy_factory(self, folder: Path, tapes: Tapes) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, cuda_graphs=True, token_budget=budget or 16384)


class TestRecordedFewSlots(SamplingContract):
    """With an adapter, rows that are given up all the time, and a limit of memory."""

    draws = 300

    @pytest.fixture
    def policy_factory(self, folder: Path, tapes: Tapes) -> Callable[[int | None], Policy]:
        how: dict[str, Any] = {"cuda_graphs": True, "slots": 3, "prefill_chunk": 4, "kv_memory": 0.001}
        return lambda budget: load(folder, AdapterSpec(rank=4), token_budget=budget or 64, **how)


def test_few_shapes_are_recorded(folder: Path, tapes: Tapes) -> None:
    engine = load(folder, cuda_graphs=True).engine()
    # rows end one after the other
    drive(engine, [request(f"{i}", [1, 2, 3 + i], max_new_tokens=2 + i) for i in range(11)])
    assert tapes.replayed == 11
    assert tapes.recorded <= len([16, 8, 4, 2, 1])
    # others of these shapes replay what is there, also with new weights
    engine.drop(1)
    before = tapes.recorded
    drive(engine, [request(f"{i}", [1, 2, 3 + i], max_new_tokens=9) for i in range(10)])
    assert tapes.recorded == before


@pytest.mark.parametrize("shortest", [8, 1 << 20], ids=["kept beginning", "copied beginning"])
def test_the_same_as_plain_passes(shortest: int, folder: Path, tapes: Tapes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mentor_kit.backend.row_allocator.SHORTEST_ATTACHED", shortest)
    engines = [load(folder, cuda_graphs=graphs).engine() for graphs in (True, False)]
    contexts = {f"s{i}": [*range(1, 31), *range(40, 41 + 2 * i)] for i in range(6)}
    for turn in range(4):
        # some sessions wait meanwhile, whose keys and values must stay
        speaking = {s: c for i, (s, c) in enumerate(contexts.items()) if turn % 2 == 0 or i % 2}
        requests = [
            request(f"{s}.{turn}", c, session=s, temperature=0.9, seed=i, max_new_tokens=3 + i)
            for i, (s, c) in enumerate(speaking.items())
        ]
        found, expected = (drive(engine, requests) for engine in engines)
        for item in requests:
            assert found[item.id].ids == expected[item.id].ids
            assert found[item.id].log_probs == pytest.approx(expected[item.id].log_probs, abs=1e-5)
            contexts[item.session] = [*item.context, *found[item.id].ids, 5, 6]
    assert tapes.replayed


def test_only_cuda_has_graphs(folder: Path) -> None:
    with pytest.raises(BackendError, match="on cpu, not on CUDA"):
        load(folder, cuda_graphs=True)
