"""Several processes over `torch.distributed`: the contract of a backend, whole runs, and processes that are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from torch_students import write_student

HERE = Path(__file__).parent
PATHS = os.pathsep.join(map(str, (HERE, HERE.parent / "mentor_kit_mlx", *filter(None, sys.path))))
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS}
RUN = [sys.executable, "-m", "mentor_kit", "run"]
#: The largest difference of weights from those of one process. AdamW's first steps have the size of the learning rate,
#: 5e-4, whatever a gradient's size, and so its rounding, is.
GAP = 1e-4
FEWER = {
    "backend.use": "torch",
    "train.0.steps": 3,
    "train.0.problems": 4,
    "train.0.group": 4,
    "train.0.optimizer.warmup": 0,
    "train.0.optimizer.schedule": "constant",
    "checkpoints.every": 1,
    "evaluate.every": 0,
    "evaluate.on.0.problems": 2,
    "evaluate.on.1.problems": 3,
    "report": "false",
}


def command(output: Path, **more: object) -> list[str]:
    settings = FEWER | {key.replace("__", "."): value for key, value in more.items()}
    parts = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [*RUN, "quickstart", *parts, "--output", str(output)]


def launch(size: int, arguments: list[str], **environment: str) -> list[subprocess.Popen[str]]:
    """As `torchrun` does, without its own process and its report."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    place = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT | environment | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(size)
    ]


def outputs(started: list[subprocess.Popen[str]], timeout: float) -> list[str]:
    try:
        return [process.communicate(timeout=timeout)[0] for process in started]
    finally:
        for process in started:
            process.kill()


def hold_the_contract(tmp_path: Path, *options: str, size: int = 2, shard: bool = False) -> None:
    folder = write_student(tmp_path / "student")
    environment = {"STUDENT": str(folder), "SHARD": str(int(shard))}
    started = launch(size, [sys.executable, str(HERE / "processes_contract.py"), *options], **environment)
    leader, *followers = outputs(started, 1500)
    assert [process.returncode for process in started] == [0] * size, leader + "".join(followers)
    assert "[100%]" in leader
    assert followers == [""] * (size - 1)


def finished(output: Path) -> Path:
    [run] = (output / "quickstart").iterdir()
    return run


def tokens(run: Path) -> list[list[list[int]]]:
    files = sorted(run.glob("rollouts/*/*.jsonl"))
    return [[json.loads(line)["trajectory"]["tokens"]["ids"] for line in file.open()] for file in files]


def weights(folder: Path) -> np.ndarray:
    found = load_file(folder / "model.safetensors")
    return np.concatenate([found[name].ravel() for name in sorted(found)])


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The run folder of one process, and the seconds that it took."""
    output, began = tmp_path_factory.mktemp("one"), time.monotonic()
    subprocess.run(command(output), check=True, capture_output=True, env=ENVIRONMENT)
    return finished(output), time.monotonic() - began


@pytest.fixture(scope="module")
def one(timed: tuple[Path, float]) -> Path:
    """The run folder of one process."""
    return timed[0]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_are_held_to_the_same_limits(tmp_path: Path, shard: bool) -> None:
    hold_the_contract(tmp_path, "-k", "memory", shard=shard)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_update_and_sample_as_one(tmp_path: Path, shard: bool) -> None:
    hold_the_contract(tmp_path, "-k", "one_process or divided or any_process or dry_run", shard=shard)


@pytest.mark.processes
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_hold_the_contract(tmp_path: Path, shard: bool) -> None:
    # Muon needs whole matrices, and is refused where they are divided
    hold_the_contract(tmp_path, *(["-k", "not muon"] if shard else []), shard=shard)


@pytest.mark.processes
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("shard", [False, True])
def test_four_processes_update_and_sample_as_one(tmp_path: Path, shard: bool) -> None:
    hold_the_contract(tmp_path, "-k", "that_of_one_process", size=4, shard=shard)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_in_two_processes_is_that_of_one(tmp_path: Path, one: Path) -> None:
    """The same tokens, one run folder, and the same student up to rounding."""
    started = launch(2, command(tmp_path))
    leader, follower = outputs(started, 500)
    assert [process.returncode for process in started] == [0, 0], leader + follower
    assert leader.count("step 3/3") == 1
    assert follower == ""
    two = finished(tmp_path)
    assert tokens(two) == tokens(one)
    assert np.abs(weights(two / "student") - weights(one / "student")).max() < GAP


@pytest.mark.processes
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("size", [2, 4])
def test_the_run_starts_its_processes(tmp_path: Path, one: Path, size: int) -> None:
    """Twice, with the same bits."""
    for name in ("first", "second"):
        subprocess.run(
            command(tmp_path / name, backend__processes=size), check=True, capture_output=True, env=ENVIRONMENT
        )
    first, second = (finished(tmp_path / name) for name in ("first", "second"))
    np.testing.assert_array_equal(weights(first / "student"), weights(second / "student"))
    assert tokens(first) == tokens(second) == tokens(one)
    assert np.abs(weights(first / "student") - weights(one / "student")).max() < GAP


@pytest.mark.processes
@pytest.mark.parametrize("shard", [False, True])
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("later", [1, 4])
def test_a_checkpoint_is_resumed_by_another_number_of_processes(
    tmp_path: Path, one: Path, later: int, shard: bool
) -> None:
    """Two steps of two processes, and the third one by one or four."""
    settings = {"train__0__steps": 2, "backend__processes": 2, "backend__shard": str(shard).lower()}
    subprocess.run(command(tmp_path, **settings), check=True, capture_output=True, env=ENVIRONMENT)
    name = f"quickstart/{finished(tmp_path).name}"
    changed = ["--set", "train.0.steps=3", "--set", f"backend.processes={later}"]
    subprocess.run([*RUN, name, "--resume", *changed, "--output", str(tmp_path)], check=True, env=ENVIRONMENT)
    assert tokens(finished(tmp_path)) == tokens(one)
    assert np.abs(weights(finished(tmp_path) / "student") - weights(one / "student")).max() < GAP


@pytest.mark.processes
@pytest.mark.parametrize("shard", [False, True])
@pytest.mark.parametrize("broken", [0, 1])
def test_a_process_that_runs_out_of_memory_ends_the_run(tmp_path: Path, broken: int, shard: bool) -> None:
    """The others would wait for it in an exchange; the first one says which it was, and why."""
    folder = write_student(tmp_path / "student")
    environment = {"STUDENT": str(folder), "SHARD": str(int(shard)), "BROKEN": str(broken)}
    started = launch(2, [sys.executable, str(HERE / "processes_broken.py")], **environment)
    leader, follower = outputs(started, 250)
    # sharded, all halve the budget before, and give up together: the first one lets the other go
    assert [process.returncode for process in started] == [1, 0 if shard else 1]
    assert leader.count("one completion at once" if shard else "3 GiB") == 1, leader
    assert ("process 1" in leader) == (broken == 1)
    assert follower == ""


class Killed:
    """A run of two processes one of which is killed.

    Args:
        output: the folder of runs.
        victim: the process that is killed: 0 is the first.
        after: seconds after the start.
    """

    def __init__(self, output: Path, victim: int, after: float) -> None:
        leader = subprocess.Popen(
            command(output, backend__processes=2),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        time.sleep(after)
        followers = children(leader.pid)
        self.hit = leader.poll() is None and (victim == 0 or bool(followers))
        if self.hit:
            os.kill(leader.pid if victim == 0 else followers[0], signal.SIGKILL)
        self.printed, self.error = leader.communicate(timeout=300)
        self.code = leader.returncode
        self.left = [pid for pid in followers if not gone(pid, seconds=60)]


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    pids = map(int, found.read_text().split()) if found.exists() else ()
    return [each for each in pids if b"mentor_kit_torch.follower" in Path(f"/proc/{each}/cmdline").read_bytes()]


def gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.2)
    return False


def check_killed(output: Path, one: Path, victim: int, after: float) -> bool:
    """Whether the run was still going; then it has ended with one message, and is resumed to the same student."""
    killed = Killed(output, victim, after)
    assert not killed.left
    if not killed.hit:
        return False
    said = killed.printed + killed.error
    assert "Traceback" not in said
    if victim == 0:
        assert killed.code == -signal.SIGKILL
        assert said.count("process 0 of the run ended") <= 1  # the other one may have had all it needed
    elif killed.code != 0:
        assert killed.code == 1, killed.error
        assert said.count("SIGKILL") == 1
    if (output / "quickstart").is_dir():
        name = f"quickstart/{finished(output).name}"
        resumed = [*RUN, name, "--resume", "--output", str(output)]
        found = subprocess.run(resumed, capture_output=True, text=True, env=ENVIRONMENT, check=False)
        assert found.returncode == 0, found.stdout + found.stderr
        assert tokens(finished(output)) == tokens(one)
        assert np.abs(weights(finished(output) / "student") - weights(one / "student")).max() < GAP
    return True


def moments(count: int) -> Iterator[tuple[int, float]]:
    """Who is killed, and when: a share of the time that the run takes, however busy the machine is."""
    drawn = random.Random(20)
    return ((index % 2, round(drawn.uniform(0.1, 1.1), 2)) for index in range(count))


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "said"), [(1, 1), (2, 0)])
def test_a_process_that_starts_when_the_first_is_gone_says_so(rank: int, said: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    place = {"WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    follower = subprocess.run(
        [sys.executable, "-m", "mentor_kit_torch.follower"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT | place | {"RANK": str(rank), "LOCAL_RANK": str(rank), "MENTORKIT_PEERS": f"{port} token"},
    )
    assert follower.returncode == 1
    assert follower.stderr.count("error: process 0 of the run ended while process 1 was starting") == said
    assert len(follower.stderr.splitlines()) == 2 * said
    assert follower.stdout == ""


@pytest.mark.processes
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("victim", "share"), list(moments(20)))
def test_a_process_that_is_killed_ends_the_run(
    tmp_path: Path, timed: tuple[Path, float], victim: int, share: float
) -> None:
    one, seconds = timed
    check_killed(tmp_path, one, victim, share * seconds)
