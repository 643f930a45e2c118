"""Ten rows of every published format, from the file through preview, imitation and RL with the tiny student."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_helpers import json_lines
from published_rows import MAKERS, rows

import mentor_kit
from mentor_kit import api

ADAMW = {"use": "adamw", "lr": 1e-4}
RECIPE: dict[str, Any] = {
    "mentorkit": 1,
    "name": "conversations",
    "student": {"model": "tiny-student"},
    "backend": {"use": "torch", "with": {"device": "cpu"}},
    "teacher": "recorded",
    "reward": {"terms": [{"use": "correct", "weight": 0.7}, {"use": "tool-arguments", "weight": 0.3}]},
    "rollout": {"max_turns": 3, "max_turn_tokens": 48, "max_response_tokens": 128, "max_result_tokens": 32},
    "train": [
        {"use": "sft", "with": {"steps": 2, "batch": 4, "optimizer": ADAMW}},
        {"use": "grpo", "with": {"steps": 2, "problems": 4, "group": 2, "optimizer": ADAMW}},
    ],
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", MAKERS)
def test_a_file_is_previewed_imitated_and_rewarded(tmp_path: Path, name: str) -> None:
    json_lines(tmp_path / "data.jsonl", *rows(name))
    task = {"use": "conversations", "with": {"files": {"train": "data.jsonl"}}}
    recipe = {**RECIPE, "task": task, "folder": str(tmp_path)}

    preview = api.preview(recipe, problems=3)
    assert preview.teacher == "recorded"
    shown = [one for problem in preview.problems for one in problem.demonstrations]
    assert shown
    assert all(one.correct and one.reward is not None and one.reward.total == 1 for one in shown)

    run = mentor_kit.run(recipe, output=tmp_path / "runs")
    events = [json.loads(line) for line in (run.folder.path / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["kind"] == "step"]
    assert [event["stage"] for event in steps] == ["0-sft", "0-sft", "1-grpo", "1-grpo"]
    assert all(event["values"]["demonstrations"] == 4 for event in steps[:2])
