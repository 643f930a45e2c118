"""Real servers as the teacher: `transformers serve` and `mlx_lm.server` with the tiny student, over a bad network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "mentor_kit_teachers"))
import chat_servers
import model_servers

pytestmark = pytest.mark.slow

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
      attempts: 2, max_tokens: 64, when_none: show, concurrency: 2, retry: {{first_wait: 0.1, timeout: 60}}}}
"""


@pytest.mark.parametrize("kind", model_servers.KINDS)
def test_the_tiny_student_teaches_through_a_real_server_and_a_bad_network(kind: str, tmp_path: Path) -> None:
    if kind == "mlx":
        pytest.importorskip("mlx_lm")
    model = model_servers.tiny_teacher(tmp_path)
    faults = ["ok", "half", "500", "reset", "garbage", "ok", "429", "lost", "half"]
    with model_servers.model_server(kind, model) as served:
        proxy: Any = chat_servers.FaultyProxy(served, faults)  # type: ignore[arg-type]
        (tmp_path / "served.yaml").write_text(RECIPE.format(model=model, url=proxy.url))
        with chat_servers.serving(proxy):
            first = collect(tmp_path)
            asked = len(proxy.seen)
            again = collect(tmp_path)
    assert len(faults) < asked == len(proxy.seen)
    assert "requests 0," in again  # a second run finds everything in the file of answers
    # every fault was met by a new attempt: what was asked anew is what the proxy spoiled
    assert f"requests {asked - len([fault for fault in faults if fault != 'ok'])}," in first
    runs = sorted((tmp_path / "runs" / "served").iterdir())
    shown = [(run / "demonstrations.jsonl").read_text() for run in runs]
    assert shown[0] == shown[1]
    demonstrations = [json.loads(line) for line in shown[0].splitlines()]
    assert {demonstration["problem_id"] for demonstration in demonstrations} == {f"train-0-{n}" for n in range(3)}
    # the model, poor as it is, calls the real tools, which answer
    assert any(demonstration["tools_used"] for demonstration in demonstrations)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not [file for file in files if chat_servers.KEY.encode() in file.read_bytes()]


def collect(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mentor_kit.cli", "collect", "served.yaml", "--problems", "3", "--keep", "all"],
        cwd=folder,
        env={**os.environ, "TEACHER_KEY": chat_servers.KEY},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert chat_servers.KEY not in done.stdout + done.stderr
    return done.stdout
