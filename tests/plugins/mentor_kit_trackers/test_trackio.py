"""Trackio has what the run's events have, in its local database and at a server of one's own, however either ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection
from typing import Any

import pytest
from tracked import Curves, begin, events, expected, notes, tracked
from tracked_run import DIAGNOSIS, Request
from tracker_servers import free_port, hanging_server

pytest.importorskip("trackio")
pytestmark = pytest.mark.slow

#: Lets whoever has it write to the server.
TOKEN = {"TRACKIO_WRITE_TOKEN": "hunter22"}

#: Reads a project by Trackio's own interface; its folder is fixed when the package is imported.
READ = """
import json
import trackio
from trackio.sqlite_storage import SQLiteStorage
(run,) = trackio.Api().runs("quick")
named = {"project": "quick", "run": run.name, "run_id": run.id}
print("FOUND" + json.dumps({
    "name": run.name, "config": run.config, "alerts": run.alerts(),
    "logs": SQLiteStorage.get_logs(**named, max_points=None),
    "traces": SQLiteStorage.get_traces(**named, sort="step_asc"),
}))
"""


def read(database: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", READ],
        env={**os.environ, "TRACKIO_DIR": str(database)}, capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.partition("FOUND")[2])
    return found


def curves(found: dict[str, Any]) -> Curves:
    made: Curves = {}
    for row in found["logs"]:
        for name, value in row.items():
            if name not in ("step", "timestamp") and isinstance(value, int | float):
                made.setdefault(name, []).append((row["step"], value))
    return {name: sorted(points) for name, points in made.items()}


@contextmanager
def server(folder: Path, port: int) -> Iterator[str]:
    """Trackio's own server with its database in a folder; its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trackio.cli", "show", "--host", "127.0.0.1"],
        env={**os.environ, **TOKEN, "TRACKIO_DIR": str(folder), "GRADIO_SERVER_PORT": str(port), "BROWSER": "true"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        ended = time.monotonic() + 60
        while True:
            try:
                create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < ended
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_the_database_has_the_runs_own_numbers_and_traces(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    options = {"folder": "trackio", "rollouts": {"every": 2, "problems": 1, "episodes": 0}, "system": False}
    done = tracked(Request(str(folder), "trackio", options), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = read(tmp_path / "trackio")
    assert curves(found) == expected(folder)
    assert (found["name"], found["config"]["run"], found["config"]["train"][0]["use"]) == ("1", "quick/1", "grpo")
    (alert,) = found["alerts"]
    assert (alert["title"], alert["step"], alert["level"]) == ("equal-rewards", 3, "warn")
    assert DIAGNOSIS["advice"] in alert["text"]
    # of each step two rollouts, and the demonstration of their problem once
    agents = sorted(trace["metadata"]["agent"] for trace in found["traces"] if trace["step"] == 2)
    assert agents == ["student", "student", "teacher scripted"]
    assert len(found["traces"]) == 9
    trace = next(trace for trace in found["traces"] if trace["metadata"]["rollout"] == "p2#1")
    assert (trace["metadata"]["reward"], trace["metadata"]["answer"]) == (0.25, "2")
    assert [message["role"] for message in trace["messages"]] == ["user", "assistant", "tool", "assistant"]
    (call,) = trace["messages"][1]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("add", {"a": 1, "b": 1})
    assert trace["messages"][2]["tool_call_id"] == call["id"]


@pytest.mark.parametrize("kill_after", [1, 3])
def test_a_killed_and_resumed_run_has_each_step_once(tmp_path: Path, kill_after: int) -> None:
    folder = begin(tmp_path)
    options = {"folder": "trackio", "system": False}
    killed = tracked(Request(str(folder), "trackio", options, kill_after=kill_after), tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert tracked(Request(str(folder), "trackio", options), tmp_path).returncode == 0
    found = read(tmp_path / "trackio")
    assert curves(found) == expected(folder)
    traces = [
        (trace["key"], trace["step"], trace["metadata"]["rollout"], trace["metadata"]["agent"])
        for trace in found["traces"]
    ]
    assert len(traces) == len(set(traces)) > 0
    assert len(found["alerts"]) == 1


def request(folder: Path, url: str, **more: Any) -> Request:
    options = {
        "server_url": url,
        "folder": "trackio",
        "system": False,
        "timeout": 20.0,
        "rollouts": {"every": 0, "episodes": 0},
    }
    return Request(str(folder), "trackio", options, **more)


def test_a_server_has_each_step_once_after_a_kill(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    with server(tmp_path / "server", free_port()) as url:
        assert tracked(request(folder, url, kill_after=3), tmp_path, TOKEN).returncode == -signal.SIGKILL
        done = tracked(request(folder, url), tmp_path, TOKEN)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        found, wanted = curves(read(tmp_path / "server")), expected(folder)
    assert {name: [step for step, _ in curve] for name, curve in found.items()} == {
        name: [step for step, _ in curve] for name, curve in wanted.items()
    }
    assert found["grpo/reward"] == wanted["grpo/reward"]


def test_a_server_that_dies_in_the_middle_gets_the_rest_when_the_run_is_resumed(tmp_path: Path) -> None:
    """Trackio keeps what it cannot send."""
    folder, port = begin(tmp_path), free_port()
    with ThreadPoolExecutor() as pool, server(tmp_path / "server", port) as url:
        running = pool.submit(tracked, request(folder, url, seconds=1.5), tmp_path, TOKEN)
        while not any(event.get("step") == 2 for event in events(folder)):
            time.sleep(0.1)
        time.sleep(1)
    dead = time.monotonic()
    done = running.result()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - dead < 60
    assert len([note for note in notes(folder) if "switched off" in note]) <= 1
    with server(tmp_path / "server", port) as url:
        assert tracked(request(folder, url, steps=6), tmp_path, TOKEN).returncode == 0
        found = curves(read(tmp_path / "server"))
    assert found == expected(folder)


@pytest.mark.parametrize("kind", ["dead", "hanging"])
def test_a_server_that_is_not_there_is_one_note(tmp_path: Path, kind: str) -> None:
    folder = begin(tmp_path)
    with hanging_server() as hanging:
        url = hanging if kind == "hanging" else f"http://127.0.0.1:{free_port()}"
        begun = time.monotonic()
        done = tracked(request(folder, url), tmp_path, TOKEN)
        assert time.monotonic() - begun < 60
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (note,) = notes(folder)
    assert "switched off" in note
