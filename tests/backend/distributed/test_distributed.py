"""Several processes: what they say to one another, and how work is divided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mentor_kit.backend.distributed import serialization
from mentor_kit.backend.distributed.engine import DistributedEngine
from mentor_kit.backend.distributed.shares import shares
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.testing.material import ragged_groups, request

plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text()
values = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def back(value: Any) -> Any:
    return serialization.unpack(serialization.pack(value))


@settings(max_examples=40)
@given(values, st.lists(st.integers(0, 2**32), max_size=5), st.sampled_from(["int64", "float32", "uint8", "bool"]))
def test_what_is_packed_comes_back(value: Any, numbers: list[int], dtype: str) -> None:
    array = np.array(numbers).astype(dtype)
    found = back({"value": value, "arrays": [array, array.reshape(-1, 1)]})
    assert found["value"] == value
    for given_, found_ in zip([array, array.reshape(-1, 1)], found["arrays"], strict=True):
        assert (found_.dtype, found_.shape) == (given_.dtype, given_.shape)
        np.testing.assert_array_equal(found_, given_)


def test_words_come_back() -> None:
    item = request("a", [1, 2, 3], stop_ids=frozenset({7, 8}), seed=2**64 - 1)
    assert serialization.request_from_data(back(serialization.request_as_data(item))) == item
    groups = ragged_groups(100)
    found = serialization.groups_from_data(back(serialization.groups_as_data(groups)))
    for mine, theirs in zip(groups, found, strict=True):
        np.testing.assert_array_equal(mine.prompt_ids, theirs.prompt_ids)
        for a, b in zip(mine.completions, theirs.completions, strict=True):
            for name in ("ids", "mask", "log_probs", "advantage"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for adapter in (None, AdapterSpec(rank=3, targets=("a", "b"), path=Path("/x"))):
        student = StudentSpec("model", "main", adapter)
        assert serialization.student_from_data(back(serialization.student_as_data(student))) == student


@given(st.lists(st.tuples(st.integers(1, 50), st.lists(st.integers(0, 30), max_size=6)), max_size=9), st.integers(1, 5))
def test_every_completion_has_one_process(shapes: list[tuple[int, list[int]]], size: int) -> None:
    groups = [
        TokenGroup(np.ones(prompt, np.int64), tuple(_completion(count) for count in counts))
        for prompt, counts in shapes
    ]
    found = shares(groups, size)
    everything = [place for places in found for place in places]
    assert len(found) == size
    assert sorted(everything) == [(g, c) for g, (_, counts) in enumerate(shapes) for c in range(len(counts))]
    costs = [prompt + sum(counts) for prompt, counts in shapes]
    if len(groups) >= size:
        # no group is split, and no process has more than its part and one group
        owners = [
            {rank for rank in range(size) if any(g == index for g, _ in found[rank])} for index in range(len(groups))
        ]
        assert all(len(owner) <= 1 for owner in owners)
        loads = [sum(costs[g] for g in {g for g, _ in places}) for places in found]
        assert max(loads) <= sum(costs) / size + max(costs)


def _completion(count: int) -> TokenCompletion:
    return TokenCompletion(np.ones(count, np.int64), np.ones(count, np.float32), np.zeros(count, np.float32))


class Processes:
    """Workers that answer each request at once with one token: what was sent to which of them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.owners: dict[str, int] = {}

    def run(self, method: str, *, events: list[Any], steps: int) -> list[Any]:
        assert method == "sample"
        done: list[list[Any]] = [[] for _ in range(self.size)]
        for kind, rank, given_ in events:
            if kind == "submit":
                self.owners[given_["session"]] = rank
                done[rank].append({"id": given_["id"], "ids": [1], "log_probs": [0.0], "finish": "stop", "version": 0})
            elif kind == "release":
                assert self.owners[given_] == rank
        return [(completions, False) for completions in done]


def sample(engine: DistributedEngine, sessions: list[str]) -> None:
    for session in sessions:
        engine.submit(request(f"{session}.0", [1, 2], session=session))
    while engine.busy:
        engine.step()


def test_a_resumed_run_assigns_sessions_as_one_that_goes_on() -> None:
    """Sessions that ended before new ones begin do not count."""
    on, resumed = Processes(2), Processes(2)
    one = DistributedEngine(on, lambda request: None)  # type: ignore[arg-type]
    earlier = [f"a{index}" for index in range(5)]
    sample(one, earlier)
    for session in earlier:
        one.release(session)
    later = [f"b{index}" for index in range(5)]
    sample(one, later)
    sample(DistributedEngine(resumed, lambda request: None), later)  # type: ignore[arg-type]
    assert {session: on.owners[session] for session in later} == resumed.owners
    assert sorted(resumed.owners.values()) == [0, 0, 0, 1, 1]


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=6),
)
def test_processes_hold_about_as_many_sessions(size: int, rounds: list[tuple[int, int]]) -> None:
    """Of sessions that begin together as many as fit; what is released frees its place, and stays where it was."""
    processes = Processes(size)
    engine = DistributedEngine(processes, lambda request: None)  # type: ignore[arg-type]
    alive: list[str] = []
    for number, (begun, ended) in enumerate(rounds):
        before = dict(processes.owners)
        new = [f"{number}.{index}" for index in range(begun)]
        sample(engine, new)
        alive += new
        held = [sum(processes.owners[session] == rank for session in alive) for rank in range(size)]
        assert all(processes.owners[session] == rank for session, rank in before.items())
        # a process is given a session only while it holds less than its part
        assert all(held[processes.owners[session]] <= -(-len(alive) // size) for session in new)
        for session in alive[:ended]:
            engine.release(session)
        alive = alive[ended:]


def test_a_session_keeps_its_process_over_turns() -> None:
    processes = Processes(3)
    engine = DistributedEngine(processes, lambda request: None)  # type: ignore[arg-type]
    sample(engine, [f"s{index}" for index in range(7)])
    first = dict(processes.owners)
    for turn in range(1, 3):
        for session in first:
            engine.submit(request(f"{session}.{turn}", [1, 2, 3], session=session))
        while engine.busy:
            engine.step()
        assert processes.owners == first
