"""Several processes under `mlx.launch`: the contract of a backend, and whole runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import mentor_kit_tiny
import numpy as np
import pytest
from mlx_students import load, weights
from torch_students import write_student

HERE = Path(__file__).parent
PATHS = os.pathsep.join(map(str, (HERE, HERE.parent / "mentor_kit_torch", *filter(None, sys.path))))
SCRIPTS = Path(sys.executable).parent
STUDENT = Path(mentor_kit_tiny.__file__).parent / "students" / "tiny"
FEWER = [
    "train.0.steps=2",
    "train.0.problems=2",
    "train.0.group=4",
    "train.0.optimizer.warmup=0",
    "evaluate.every=0",
    "evaluate.on.0.problems=2",
    "evaluate.on.1.problems=3",
]


def launch(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    whole = [str(SCRIPTS / "mlx.launch"), "-n", "2", "--backend", "ring", "--", *command]
    # the launcher reads its input again and again once that has ended
    reading, writing = os.pipe()
    try:
        found = subprocess.run(
            whole,
            capture_output=True,
            text=True,
            timeout=1500,
            stdin=reading,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS} | environment,
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
    common = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS, "STUDENT": str(folder)}
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
    command = [sys.executable, "-m", "mentor_kit.cli", "run", "quickstart", *settings, "--output"]
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
