"""Sampling's passes, recorded and replayed: a recording on the CPU stands for a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mentor_kit_torch.cuda_graphs import Work
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch_students import load

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import SampleRequest
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
        self.recorded = self.replayed = self.nbytes = 0

    def clear(self) -> None:
        self.nbytes = 0

    def __call__(self, work: Work) -> Work:
        with Tape() as tape:
            found = work()
        self.recorded += 1
        self.nbytes += 1 << 20

        def replay() -> torch.Tensor:
            # what a recording gives must come from its replay alone
            found.fill_(-1)
            tape.replay()
            self.replayed += 1
            return found

        return replay


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> Tapes:
    """Recordings are possible on the CPU."""
    found = Tapes()
    put_in(found, monkeypatch)
    return found


def put_in(recorder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder in place of CUDA's."""
    monkeypatch.setattr("mentor_kit_torch.policy.cuda_graphs", lambda device, keeps: recorder)
    monkeypatch.setattr("mentor_kit_torch.policy.has_cuda_graphs", lambda device, keeps: keeps)


class TestRecorded(SamplingContract):
    @pytest.fixture
    def policy_factory(self, folder: Path, tapes: Tapes) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, token_budget=budget or 16384)


@pytest.mark.slow
class TestRecordedFewSlots(SamplingContract):
    """With an adapter, rows that are given up all the time, and a limit of memory."""

    draws = 300

    @pytest.fixture
    def policy_factory(self, folder: Path, tapes: Tapes) -> Callable[[int | None], Policy]:
        how: dict[str, Any] = {"slots": 3, "prefill_chunk": 4, "kv_memory": 0.001}
        return lambda budget: load(folder, AdapterSpec(rank=4), token_budget=budget or 64, **how)


def ask(count: int) -> list[SampleRequest]:
    """Requests of several lengths, which end one after the other."""
    return [request(f"{i}", [1, 2, 3 + i], max_new_tokens=2 + i) for i in range(count)]


def test_few_shapes_are_recorded(folder: Path, tapes: Tapes) -> None:
    engine = load(folder).engine()
    tapes.recorded = tapes.replayed = 0
    drive(engine, ask(11))
    # 11 passes, and those that were launched in vain as rows ended
    assert 11 <= tapes.replayed <= 22
    # each number of rows with as many sequences, and with more while rows that ended run along
    assert tapes.recorded <= 2 * len([16, 8, 4, 2, 1])
    # the same again, also with new weights, replays what is there
    engine.drop(1)
    before = tapes.recorded
    drive(engine, ask(11))
    assert tapes.recorded == before


def rounds(engine: Any, asked: Sequence[Sequence[SampleRequest]], limit: float) -> list[Any]:
    """Tokens, and their log-probabilities, that each round of requests gives, whose sessions end with it.

    Keys and values stay within a limit of GiB.
    """
    found = []
    for version, requests in enumerate(asked):
        engine.drop(version)
        for item in requests:
            engine.submit(item)
        done: dict[str, Any] = {}
        while engine.busy:
            done |= {one.id: (one.ids, one.log_probs) for one in engine.step()}
            assert engine.device.nbytes <= limit * 2**30
        for item in requests:
            engine.release(item.session)
        found += [done[item.id] for item in requests]
    return found


def counted_rounds(engine: Any, asked: Sequence[Any], limit: float, count: Callable[[], int]) -> tuple[Any, list[int]]:
    """What `rounds` gives, and a count after each round."""
    found, counts = [], []
    for one in asked:
        found += rounds(engine, [one], limit)
        counts.append(count())
    return found, counts


def check_same(found: list[Any], expected: list[Any]) -> None:
    """What `rounds` gives is the same, but for rounding."""
    for (ids, log_probs), (plain_ids, plain_log_probs) in zip(found, expected, strict=True):
        assert ids == plain_ids
        assert log_probs == pytest.approx(plain_log_probs, abs=1e-5)


@pytest.mark.parametrize("shortest", [8, 1 << 20], ids=["kept beginning", "copied beginning"])
def test_with_a_limit_of_memory_recordings_serve_the_next_round(
    shortest: int, folder: Path, tapes: Tapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mentor_kit.backend.row_allocator.SHORTEST_ATTACHED", shortest)
    limit = 0.0004
    begin = list(range(1, 21))
    asked = [[request(f"{n}", [*begin, 30 + n], max_new_tokens=4) for n in range(5)] for _ in range(4)]
    engine = load(folder, kv_memory=limit).engine()
    _, counts = counted_rounds(engine, asked, limit, lambda: tapes.recorded)
    assert counts[1:] == [counts[1]] * 3
    engine.make_room(0)
    assert engine.device.nbytes == 0


def test_beginnings_of_nearly_one_length_are_served_by_the_same_recordings(
    folder: Path, tapes: Tapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mentor_kit.backend.row_allocator.SHORTEST_ATTACHED", 8)
    limit = 0.0004
    asked = [
        [request(f"{n}", [*range(1, length), 40 + n], max_new_tokens=12) for n in range(5)]
        for length in (33, 32 + 15, 32 + 9, 32 + 2)
    ]
    engine = load(folder, kv_memory=limit).engine()
    found, counts = counted_rounds(engine, asked, limit, lambda: tapes.recorded)
    assert counts[1:] == [counts[1]] * 3
    check_same(found, rounds(load(folder, kv_memory=limit, cuda_graphs=False).engine(), asked, limit))


def test_where_memory_is_used_up_recordings_of_the_last_beginning_give_way(
    folder: Path, tapes: Tapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mentor_kit.backend.row_allocator.SHORTEST_ATTACHED", 8)
    limit = 0.0004
    asked = [
        [request(f"{n}", [*range(1, length), 40 + n], max_new_tokens=4) for n in range(5)] for length in (33, 49, 65)
    ]
    engine = load(folder, kv_memory=limit, graph_memory=1.5 / 1024).engine()
    tapes.replayed = 0
    found, counts = counted_rounds(engine, asked, limit, lambda: tapes.replayed)
    assert 0 < counts[0] < counts[1] < counts[2]
    check_same(found, rounds(load(folder, kv_memory=limit, cuda_graphs=False).engine(), asked, limit))


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 70), st.booleans()), min_size=2, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rounds_of_any_shape_are_those_of_plain_passes_within_the_limit(
    folder: Path, tapes: Tapes, shapes: list[tuple[int, int, bool]]
) -> None:
    limit = 0.00015  # some five rows of up to 128 positions
    begin = list(range(1, 17))
    asked = [
        [request(f"{n}", [*(begin if common else ()), *[20 + n] * length], max_new_tokens=3) for n in range(rows)]
        for rows, length, common in shapes
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mentor_kit.backend.row_allocator.SHORTEST_ATTACHED", 8)
        found, expected = (
            rounds(load(folder, kv_memory=limit, cuda_graphs=graphs).engine(), asked, limit) for graphs in (True, False)
        )
    check_same(found, expected)


def test_graphs_beyond_their_memory_are_left_out(folder: Path, tapes: Tapes, caplog: pytest.LogCaptureFixture) -> None:
    expected = drive(load(folder, cuda_graphs=False).engine(), ask(11))
    engine = load(folder, graph_memory=1.5 / 1024).engine()
    tapes.recorded = 0
    with caplog.at_level("WARNING"):
        found = drive(engine, ask(11))
    assert tapes.recorded == 2  # of a mebibyte each, and the second one exceeds the limit
    assert [record.getMessage() for record in caplog.records if "graph_memory" in record.getMessage()] == [
        "decoding passes of further shapes are not recorded as CUDA graphs: `backend.graph_memory` is used up"
    ]
    assert {name: one.ids for name, one in found.items()} == {name: one.ids for name, one in expected.items()}


class Failing(Tapes):
    """A recorder that fails from the n-th recording on."""

    def __init__(self, number: int, error: Exception) -> None:
        super().__init__()
        self.number, self.error = number, error

    def __call__(self, work: Work) -> Work:
        if self.recorded >= self.number:
            work()  # as far as a capture gets
            raise self.error
        return super().__call__(work)


@pytest.mark.parametrize("error", [RuntimeError("capture is not allowed\nmore"), torch.OutOfMemoryError("no room")])
@pytest.mark.parametrize("number", [0, 2])
def test_recordings_that_fail_are_left_out(
    number: int, error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = drive(load(folder, cuda_graphs=False).engine(), ask(5))
    put_in(Failing(number, error), monkeypatch)
    with caplog.at_level("WARNING"):
        found = drive(load(folder).engine(), ask(5))
    (line,) = [record.getMessage() for record in caplog.records if "CUDA graphs" in record.getMessage()]
    assert str(error).splitlines()[0] in line
    assert {name: one.ids for name, one in found.items()} == {name: one.ids for name, one in expected.items()}


@pytest.mark.parametrize("number", range(4))
def test_recordings_that_differ_are_left_out(
    number: int, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of one shape alone, too: of rows without need or not, of few keys or more."""

    class Stale(Tapes):
        """Its n-th recording gives the first token for each row, whatever its rows are now."""

        def __call__(self, work: Work) -> Work:
            if self.recorded != number:
                return super().__call__(work)
            found = work()
            self.recorded += 1
            return lambda: torch.zeros_like(found)

    expected = drive(load(folder, cuda_graphs=False).engine(), ask(5))
    put_in(stale := Stale(), monkeypatch)
    with caplog.at_level("WARNING"):
        engine = load(folder).engine()
    assert any("other results than plain passes" in record.getMessage() for record in caplog.records)
    tried = stale.recorded
    found = drive(engine, ask(5))
    assert stale.recorded == tried
    assert found == expected


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


def test_the_cpu_goes_without_graphs(folder: Path) -> None:
    assert not load(folder).engine().device.decodes
