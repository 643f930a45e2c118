"""Several processes under `mlx.launch`: what they say to one another, how work is divided, and whole runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import mentor_kit_math
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_mlx import serialization
from mentor_kit_mlx.worker import shares
from mlx_students import load, weights
from torch_students import write_student

from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.testing.material import ragged_groups, request

HERE = Path(__file__).parent
SCRIPTS = Path(sys.executable).parent
STUDENT = Path(mentor_kit_math.__file__).parent / "students" / "tiny"
FEWER = [
    "train.0.steps=2",
    "train.0.problems=2",
    "train.0.group=4",
    "train.0.optimizer.warmup=0",
    "evaluate.every=0",
    "evaluate.on.0.problems=2",
    "evaluate.on.1.problems=3",
]

plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text()
values = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def back(value: Any) -> Any:
    return serialization.unpack(serialization.pack(value))


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


def launch(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    whole = [str(SCRIPTS / "mlx.launch"), "-n", "2", "--backend", "ring", "--", *command]
    paths = os.pathsep.join(map(str, (HERE, HERE.parent / "mentor_kit_torch")))
    # the launcher reads its input again and again once that has ended
    reading, writing = os.pipe()
    try:
        found = subprocess.run(
            whole,
            capture_output=True,
            text=True,
            timeout=1500,
            stdin=reading,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths} | environment,
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert found.returncode == 0, found.stdout + found.stderr
    return found


def hold_the_contract(tmp_path: Path, *options: str) -> None:
    """Both processes as `mlx.launch` starts them, without it: it keeps a core busy all the time."""
    folder, hosts = write_student(tmp_path / "student"), tmp_path / "hosts.json"
    hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in free_ports(2)]))
    paths = os.pathsep.join(map(str, (HERE, HERE.parent / "mentor_kit_torch")))
    common = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "STUDENT": str(folder)}
    started = [
        subprocess.Popen(
            [sys.executable, str(HERE / "data_parallel_contract.py"), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=common | {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)},
        )
        for rank in range(2)
    ]
    try:
        leader, follower = (process.communicate(timeout=1500)[0] for process in started)
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], leader + follower
    assert "[100%]" in leader
    assert "[100%]" not in follower


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_processes_update_and_sample_as_one(tmp_path: Path) -> None:
    hold_the_contract(tmp_path, "-k", "one_process or divided or any_process or bits")


@pytest.mark.slow
def test_two_processes_hold_the_contract(tmp_path: Path) -> None:
    hold_the_contract(tmp_path)


@pytest.mark.slow
def test_a_run_in_two_processes_is_that_of_one(tmp_path: Path) -> None:
    """The same tokens, one run folder, the same student up to rounding; and it can be resumed."""
    settings = [part for setting in ["backend.use=mlx", *FEWER] for part in ("--set", setting)]
    command = [str(SCRIPTS / "mentorkit"), "run", "quickstart", *settings, "--output"]
    found = launch(*command, str(tmp_path / "two"))
    assert found.stdout.count("step 2/2") == 1  # the second process says nothing
    subprocess.run([*command, str(tmp_path / "one")], check=True, capture_output=True)
    [two], [one] = (list((tmp_path / name / "quickstart").iterdir()) for name in ("two", "one"))
    rollouts = [run / "rollouts" / "0-grpo" / "step-000001.jsonl" for run in (two, one)]
    tokens = [[json.loads(line)["trajectory"]["tokens"]["ids"] for line in path.open()] for path in rollouts]
    assert tokens[0] == tokens[1]
    before, first, second = (weights(load(path)) for path in (STUDENT, one / "student", two / "student"))
    update, gap = (
        np.concatenate([(a[name] - b[name]).ravel() for name in sorted(a)])
        for a, b in ((first, before), (second, first))
    )
    assert np.linalg.norm(update) > 0
    assert np.linalg.norm(gap) <= 1e-3 * np.linalg.norm(update)
