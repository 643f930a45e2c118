"""Weights & Biases has what the run's events have, offline and online, however the run or the server ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tracked import Curves, begin, expected, notes, tracked
from tracked_run import DIAGNOSIS, Request
from tracker_files import wandb_records, wandb_rows
from tracker_servers import WandbServer, free_port, hanging_server

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow

KEY = {"WANDB_API_KEY": "a" * 40}
NO_ROLLOUTS = {"every": 0, "episodes": 0}


def only_file(folder: Path, kind: str = "offline-run") -> Path:
    (path,) = (folder / "wandb").glob(f"{kind}-*/*.wandb")
    return path


def curves(rows: list[dict[str, Any]]) -> Curves:
    """The curves of a history, over the steps that are logged with them."""
    found: Curves = {}
    for row in rows:
        for name, value in row.items():
            series = "grpo/evaluation/in-domain" if name.startswith("grpo/evaluation/") else "grpo"
            if name.startswith("grpo/") and "rollouts" not in name and name != f"{series}/step":
                found.setdefault(name, []).append((row[f"{series}/step"], value))
    return found


def test_the_offline_file_has_the_runs_own_numbers_and_tables(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    options = {
        "mode": "offline",
        "project": "p",
        "entity": "me",
        "tags": ["a"],
        "group": "g",
        "rollouts": {"every": 2, "problems": 1},
    }
    done = tracked(Request(str(folder), "wandb", options), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    path = only_file(tmp_path)
    rows = wandb_rows(path)
    assert curves(rows) == expected(folder)
    records = {record.WhichOneof("record_type"): record for record in wandb_records(path)}
    run = records["run"].run
    assert (run.project, run.entity, run.run_id, run.display_name, list(run.tags), run.run_group) == (
        "p",
        "me",
        "quick-1",
        "1",
        ["a"],
        "g",
    )
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (config["run"], config["train"][0]["use"]) == ("quick/1", "grpo")
    assert records["exit"].exit.exit_code == 0
    alert = records["alert"].alert
    assert (alert.title, alert.level, DIAGNOSIS["advice"] in alert.text) == ("equal-rewards", "WARN", True)
    # the charts' axis is the stage's step
    axes = {
        record.metric.name: record.metric.step_metric for record in wandb_records(path) if record.HasField("metric")
    }
    assert axes["grpo/reward"] == "grpo/step"
    assert axes["grpo/evaluation/in-domain/greedy/accuracy"] == "grpo/evaluation/in-domain/step"
    tables = [row["grpo/rollouts/path"] for row in rows if "grpo/rollouts/path" in row]
    assert len(tables) == 3
    table = json.loads((path.parent / "files" / tables[1]).read_text(encoding="utf-8"))
    found = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [(row["rollout"], row["reward"], row["answer"]) for row in found] == [
        ("p2#0", 0.25, "1"),
        ("p2#1", 0.25, "2"),
    ]
    assert [note for note in notes(folder) if f"wandb sync wandb/{path.parent.name}" in note]


@pytest.mark.parametrize("kill_after", [1, 3])
def test_a_killed_and_resumed_offline_run_has_each_step_once(tmp_path: Path, kill_after: int) -> None:
    folder = begin(tmp_path)
    options = {"mode": "offline", "rollouts": NO_ROLLOUTS, "system": False}
    killed = tracked(Request(str(folder), "wandb", options, kill_after=kill_after), tmp_path)
    assert killed.returncode == -signal.SIGKILL
    time.sleep(1.1)  # wandb's folders are named by the second
    assert tracked(Request(str(folder), "wandb", options), tmp_path).returncode == 0
    path = only_file(tmp_path)
    assert curves(wandb_rows(path)) == expected(folder)
    # wandb's own reader sends the same
    with WandbServer() as server:
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", str(path.parent)],
            env={**os.environ, **KEY, "WANDB_BASE_URL": server.url, "HOME": str(tmp_path)},
            capture_output=True, text=True, timeout=600, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert curves(server.history("quick-1")) == expected(folder)


def online(folder: Path, url: str, **more: Any) -> Request:
    options = {"base_url": url, "project": "p", "rollouts": NO_ROLLOUTS, "system": False, "timeout": 14.0}
    return Request(str(folder), "wandb", options, **more)


def test_a_server_has_each_step_once_after_a_kill(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    with WandbServer() as server:
        assert tracked(online(folder, server.url, kill_after=3), tmp_path, KEY).returncode == -signal.SIGKILL
        done = tracked(online(folder, server.url), tmp_path, KEY)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found, wanted = curves(server.history("quick-1")), expected(folder)
    assert {name: [step for step, _ in curve] for name, curve in found.items()} == {
        name: [step for step, _ in curve] for name, curve in wanted.items()
    }
    assert found["grpo/reward"] == wanted["grpo/reward"]
    assert server.exit_codes[-1] == 0
    assert [note for note in notes(folder) if "/me/p/runs/quick-1" in note]


def test_a_server_that_dies_in_the_middle_is_waited_for_once(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    with WandbServer() as server:
        server.dies = True
        begun = time.monotonic()
        done = tracked(online(folder, server.url, seconds=1.0), tmp_path, KEY)
        assert time.monotonic() - begun < 60
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (note,) = [note for note in notes(folder) if "switched off" in note]
    # nothing is lost: the folder that the note names has everything
    path = only_file(tmp_path, "run")
    assert f"wandb sync wandb/{path.parent.name}" in note
    assert curves(wandb_rows(path)) == expected(folder)


@pytest.mark.parametrize("kind", ["dead", "hanging", "no key"])
def test_without_a_server_the_run_is_tracked_offline(tmp_path: Path, kind: str) -> None:
    folder = begin(tmp_path)
    with hanging_server() as hanging:
        url = f"http://127.0.0.1:{free_port()}" if kind == "dead" else hanging
        begun = time.monotonic()
        done = tracked(online(folder, url), tmp_path, {} if kind == "no key" else KEY)
        assert time.monotonic() - begun < 60
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (note,) = notes(folder)
    path = only_file(tmp_path)
    assert f"wandb sync wandb/{path.parent.name}" in note
    assert curves(wandb_rows(path)) == expected(folder)


def test_a_user_who_has_disabled_wandb_gets_nothing_of_it(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    done = tracked(Request(str(folder), "wandb"), tmp_path, {"WANDB_MODE": "disabled"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "wandb").exists()
    (note,) = notes(folder)
    assert "WANDB_MODE" in note
