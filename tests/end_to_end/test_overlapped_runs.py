"""A whole run whose episodes overlap with updates, killed and resumed: nothing is faked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mentor_kit import api
from mentor_kit.runs import Run

SETTINGS = {
    "rollout.staleness": 1,
    "train.0.steps": 5,
    "train.0.problems": 4,
    "train.0.group": 4,
    "train.0.minibatches": 1,  # so that a step is a version
    "checkpoints.every": 1,
    "evaluate.on": [],
    "evaluate.at_start": "false",
    "report": "false",
    "backend.threads": 1,
}


def recorded(run: Path) -> dict[str, tuple[int, Any]]:
    """Every trajectory that was trained on, with its step."""
    found: dict[str, tuple[int, Any]] = {}
    for file in sorted((run / "rollouts").rglob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").split("\n")[:-1]:
            trajectory = json.loads(line)["trajectory"]
            assert trajectory["id"] not in found, "no episode is trained on twice"
            found[trajectory["id"]] = int(file.stem[-6:]), trajectory
    return found


@pytest.mark.slow
def test_a_killed_run_resumes_with_what_was_in_its_buffer(tmp_path: Path) -> None:
    words = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "mentor_kit.cli", "run", "quickstart", "--output", str(tmp_path), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(list(tmp_path.rglob("files/buffer.jsonl"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (run,) = (tmp_path / "quickstart").iterdir()
    last = max((run / "checkpoints").glob("[!.]*"), key=lambda folder: folder.name)
    step = int(last.name[-6:])
    groups = [json.loads(line) for line in (last / "files" / "buffer.jsonl").read_text().split("\n")[:-1]]
    kept = {one["id"]: one for group in groups for one in group["episodes"] if one is not None}
    assert step < 5
    assert groups

    found: Run = api.resume(run)
    used = recorded(run)
    assert len(used) == 5 * 4 * 4
    assert all(used[name] == (used[name][0], one) and used[name][0] > step for name, one in kept.items())
    assert [one["step"] for one in found.steps] == [1, 2, 3, 4, 5]
    assert max(one["staleness_max"] for one in found.steps) <= 1
    assert found.outcome == "done"
