"""Everything real in one recipe by one command: SmolLM2 as the student, a server as the teacher, tools over MCP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import model_servers
import smollm2_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_collect_a_step_of_grpo_and_evaluate_with_real_parts(tmp_path: Path) -> None:
    cache = os.environ.get("MENTORKIT_TEST_CACHE")
    student = smollm2_model.prepare(Path(cache) if cache else tmp_path)
    teacher = model_servers.tiny_teacher(tmp_path)
    with model_servers.model_server("transformers", teacher) as served:
        settings = [
            f"student.model={student}",
            f"teacher.with.url={served.url}/v1",
            f"teacher.with.model={teacher}",
            f"teacher.with.cache={tmp_path / 'answers.sqlite'}",
            "backend.dtype=float32",
            "rollout.system=null",  # the tiny teacher was made without one
        ]
        command = [sys.executable, "-m", "mentor_kit.cli", "run", "served/smollm2", "--output", str(tmp_path / "runs")]
        done = subprocess.run(
            [*command, *(part for setting in settings for part in ("--set", setting))],
            capture_output=True,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs" / "served").iterdir()
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    (collected,) = [event["values"] for event in events if event["kind"] == "collected"]
    (step,) = [event["values"] for event in events if event["kind"] == "step"]
    (report,) = [json.loads(path.read_text()) for path in (run / "evaluation").glob("*.json")]
    # what was sampled is what was trained on, by a real model with its own tokenizer
    assert step["mismatch_max"] < 1e-4
    assert report["problems"] == 4
    demonstrations = [json.loads(line) for line in (run / "demonstrations.jsonl").read_text().splitlines()]
    assert collected["problems"] == 8
    assert 0 < collected["demonstrations"] <= len(demonstrations)
    assert all(demonstration.get("correct", True) for demonstration in demonstrations)
    calls = [
        call
        for demonstration in demonstrations
        for message in demonstration["trajectory"]["messages"]
        for call in message.get("tool_calls") or []
    ]
    assert "executed" in {call["state"] for call in calls}  # by the MCP server
