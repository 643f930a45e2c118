"""A real server as the teacher: `transformers serve` with the tiny student, and a bad network between."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "mentor_kit_teachers"))
import chat_servers

pytestmark = pytest.mark.slow

STUDENT = Path(__file__).parents[2] / "plugins" / "mentor_kit_math" / "students" / "tiny"
RECIPE = """
mentorkit: 1
name: served
student: {{model: tiny-student}}
task: arithmetic
tools: [math]
teacher:
  use: openai
  with:
    {{model: "{model}", url: "{url}/v1", key: "${{env:TEACHER_KEY}}", cache: answers.sqlite, read_calls: hermes,
      attempts: 2, max_tokens: 64, when_none: show, concurrency: 2, patience: {{first_wait: 0.1, timeout: 60}}}}
"""


class Served:
    """`transformers serve` in a process of its own."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.server_address = free.getsockname()
        command = [str(Path(sys.executable).parent / "transformers"), "serve", str(STUDENT), "--device", "cpu"]
        self.process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(self.server_address[1])],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.server_address[1]}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.5)
        pytest.fail("transformers serve did not start")


@pytest.fixture
def served():
    made = Served()
    try:
        made.wait()
        yield made
    finally:
        made.process.terminate()
        made.process.wait()


def test_the_tiny_student_teaches_through_transformers_serve_and_a_bad_network(served, tmp_path):
    faults = ["ok", "half", "500", "reset", "garbage", "ok", "429", "lost", "half"]
    proxy = chat_servers.FaultyProxy(served, faults)
    (tmp_path / "served.yaml").write_text(RECIPE.format(model=STUDENT, url=proxy.url))

    def collect() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mentor_kit.cli", "collect", "served.yaml", "--problems", "3", "--keep", "all"],
            cwd=tmp_path,
            env={**os.environ, "TEACHER_KEY": chat_servers.KEY},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert chat_servers.KEY not in done.stdout + done.stderr
        return done.stdout

    with chat_servers.serving(proxy):
        collect()
        asked = len(proxy.seen)
        assert "requests 0," in collect()  # a second run finds everything in the file of answers
    assert asked == len(proxy.seen) > len(faults)
    first, second = sorted((tmp_path / "runs" / "served").iterdir())
    shown = (first / "demonstrations.jsonl").read_text()
    assert shown == (second / "demonstrations.jsonl").read_text()
    demonstrations = [json.loads(line) for line in shown.splitlines()]
    assert {demonstration["problem_id"] for demonstration in demonstrations} == {f"train-0-{n}" for n in range(3)}
    # the model, poor as it is, calls the real tools, which answer
    assert any(demonstration["tools_used"] for demonstration in demonstrations)
    assert not [
        file for file in tmp_path.rglob("*") if file.is_file() and chat_servers.KEY.encode() in file.read_bytes()
    ]
