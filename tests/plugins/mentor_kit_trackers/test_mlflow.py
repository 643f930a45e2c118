"""MLflow has what the run's events have, in a local database and at a server, however either ends."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tracked import begin, expected, notes, tracked
from tracked_run import DIAGNOSIS, Request
from tracker_servers import MlflowServer, free_port, hanging_server

pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow


def only_run(folder: Path, experiment: str = "quick") -> tuple[Any, Any]:
    """MLflow's own client on the database that the run made, and the one run in it."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return client, run


def curves(client: Any, run: Any) -> dict[str, list[tuple[int, float]]]:
    return {
        name: sorted((found.step, found.value) for found in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
    }


def test_the_database_has_the_runs_own_numbers_recipe_and_rollouts(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    options = {"tags": {"team": "blue"}, "rollouts": {"every": 2, "problems": 1}}
    done = tracked(Request(str(folder), "mlflow", options), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    client, run = only_run(tmp_path)
    assert curves(client, run) == expected(folder)
    assert (run.info.status, run.info.run_name, run.data.tags["team"]) == ("FINISHED", "1", "blue")
    assert run.data.params == {"name": "quick", "seed": "0", "train.0.use": "grpo", "train.0.with.steps": "4"}
    table = json.loads(Path(client.download_artifacts(run.info.run_id, "rollouts/grpo/step-000002.json")).read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [(row["rollout"], row["reward"], row["answer"]) for row in rows] == [
        ("p2#0", 0.25, "1"),
        ("p2#1", 0.25, "2"),
    ]
    assert "add(a=1, b=0)" in rows[1]["demonstration"]
    assert run.data.tags["diagnosis.equal-rewards"] == f"step 3: {DIAGNOSIS['text']} {DIAGNOSIS['advice']}"
    assert [note for note in notes(folder) if run.info.run_id in note]


@pytest.mark.parametrize("kill_after", [1, 3])
def test_a_killed_and_resumed_run_has_each_step_once(tmp_path: Path, kill_after: int) -> None:
    folder = begin(tmp_path)
    killed = tracked(Request(str(folder), "mlflow", kill_after=kill_after), tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert tracked(Request(str(folder), "mlflow"), tmp_path).returncode == 0
    client, run = only_run(tmp_path)
    found, wanted = curves(client, run), expected(folder)
    assert {name: [step for step, _ in curve] for name, curve in found.items()} == {
        name: [step for step, _ in curve] for name, curve in wanted.items()
    }
    assert found["grpo/reward"] == wanted["grpo/reward"]
    assert run.info.status == "FINISHED"


def test_a_database_that_was_removed_gets_the_whole_run_again(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    assert tracked(Request(str(folder), "mlflow", steps=2), tmp_path).returncode == 0
    (tmp_path / "mlflow.db").unlink()
    assert tracked(Request(str(folder), "mlflow"), tmp_path).returncode == 0
    assert curves(*only_run(tmp_path)) == expected(folder)


def test_a_server_that_dies_in_the_middle_gets_the_rest_when_the_run_is_resumed(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    with MlflowServer(str(tmp_path / "artifacts")) as server:
        server.die_after = 2
        options = {"tracking_uri": server.url, "timeout": 15.0}
        begun = time.monotonic()
        done = tracked(Request(str(folder), "mlflow", options), tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert time.monotonic() - begun < 60
        assert server.curve("run0", "grpo/reward") == [(1, 0.125), (2, 0.25)]
    assert len([note for note in notes(folder) if "switched off" in note]) == 1
    assert len(expected(folder)["grpo/reward"]) == 4
    with MlflowServer(server.artifacts, server.port) as again:
        again.runs, again.experiments = server.runs, server.experiments
        assert tracked(Request(str(folder), "mlflow", options, steps=6), tmp_path).returncode == 0
    assert {name: again.curve("run0", name) for name in expected(folder)} == expected(folder)
    assert again.runs["run0"]["status"] == "FINISHED"


@pytest.mark.parametrize("kind", ["dead", "hanging"])
def test_a_server_that_is_not_there_is_one_note(tmp_path: Path, kind: str) -> None:
    folder = begin(tmp_path)
    with hanging_server() as hanging:
        url = hanging if kind == "hanging" else f"http://127.0.0.1:{free_port()}"
        begun = time.monotonic()
        done = tracked(Request(str(folder), "mlflow", {"tracking_uri": url, "timeout": 4.0}), tmp_path)
        assert time.monotonic() - begun < 60
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (note,) = notes(folder)
    assert "switched off" in note
