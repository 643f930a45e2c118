"""`launch.sh` with stand-ins for Ray and Python that record how they are called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from verl_exports import exported

#: Records its name and arguments; verl's trainer leaves a checkpoint, its merger a folder.
STAND_IN = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in
    *main_ppo*)
        mkdir -p "$MENTORKIT_RUN/checkpoints"
        echo 7 > "$MENTORKIT_RUN/checkpoints/latest_checkpointed_iteration.txt"
        echo "$MENTORKIT_METRICS" >> "$CALLS" ;;
    *model_merger*) mkdir "$MENTORKIT_RUN/final" ;;
esac
"""


@pytest.fixture
def launch(tmp_path: Path):
    """Calls the script of a run for so many nodes; its exit code, and the calls that it made."""
    stand_ins, calls = tmp_path / "bin", tmp_path / "calls"
    stand_ins.mkdir()
    for name in ("python3", "ray"):
        (stand_ins / name).write_text(STAND_IN)
        (stand_ins / name).chmod(0o755)

    def call(nodes: int, *arguments: str) -> tuple[int, list[str]]:
        folder, changes = tmp_path / "run", {"train.0.steps": 1, "train.0.problems": 2, "evaluate.on": []}
        if not folder.exists():
            exported(folder, changes, gpus=2, nodes=nodes)
        calls.unlink(missing_ok=True)
        environment = {**os.environ, "PATH": f"{stand_ins}:{os.environ['PATH']}", "CALLS": str(calls)}
        done = subprocess.run(["bash", folder / "launch.sh", *arguments], env=environment, capture_output=True, cwd="/")
        return done.returncode, calls.read_text().splitlines() if calls.exists() else []

    return call


def test_one_node_trains_and_merges_the_last_checkpoint(launch, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code, (train, metrics, merge) = launch(1, "trainer.save_freq=5")
    assert code == 0
    assert train == f"python3 -m verl.trainer.main_ppo --config-path={run} --config-name=verl trainer.save_freq=5"
    assert Path(metrics).parent == run / "metrics"
    assert f"--local_dir {run}/checkpoints/global_step_7/actor" in merge
    assert (run / "final" / "step.txt").read_text() == "7\n"
    # again, after which the weights are new
    assert launch(1)[0] == 0


def test_several_nodes_have_to_be_named(launch) -> None:
    assert launch(2) == (2, [])
    assert launch(2, "worker", "10.0.0.1")[1] == ["ray start --address=10.0.0.1:6379 --num-gpus=2 --block"]
    code, calls = launch(2, "head")
    assert code == 0
    assert calls[0] == "ray start --port=6379 --num-gpus=2 --head"
    assert calls[-1] == "ray stop"
    assert any("main_ppo" in call for call in calls)
