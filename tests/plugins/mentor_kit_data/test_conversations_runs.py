"""Ten rows of every published format, from the file through preview, imitation and RL with the tiny student."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_helpers import built, json_lines
from published_rows import MAKERS, rows

import mentor_kit
from mentor_kit import api
from mentor_kit.core.errors import UsageError

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


def real_rows(count: int) -> list[dict[str, Any]]:
    """Questions of BFCL with its functions and right calls, in the form of xLAM, whose descriptions of tools it has."""
    package = pytest.importorskip("mentor_kit_bfcl.package")
    if package.missing():
        pytest.skip("bfcl-eval is not installed")
    from mentor_kit_bfcl import problems
    from mentor_kit_bfcl.gold import gold_calls

    found = [
        (problem, [] if category == "irrelevance" else gold_calls(problem, dots=True))
        for category in ("simple_python", "multiple", "parallel", "irrelevance")
        for problem in problems.read(category, dots=True)[:count]
    ]
    return [
        {
            "query": problem.question,
            "tools": json.dumps(problem.extra["functions"]),
            "answers": json.dumps([{"name": call.name, "arguments": call.arguments} for call in calls]),
        }
        for problem, calls in found
    ]


def run_through(folder: Path, data: list[dict[str, Any]]) -> None:
    """Previews the rows, imitates them for two steps, and rewards for two."""
    json_lines(folder / "data.jsonl", *data)
    task = {"use": "conversations", "with": {"files": {"train": "data.jsonl"}}}
    recipe = {**RECIPE, "task": task, "folder": str(folder)}

    preview = api.preview(recipe, problems=3)
    assert preview.teacher == "recorded"
    shown = [one for problem in preview.problems for one in problem.demonstrations]
    assert shown
    assert all(one.correct and one.reward is not None and one.reward.total == 1 for one in shown)

    run = mentor_kit.run(recipe, output=folder / "runs")
    events = [json.loads(line) for line in (run.folder.path / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["kind"] == "step"]
    assert [event["stage"] for event in steps] == ["0-sft", "0-sft", "1-grpo", "1-grpo"]
    assert all(event["values"]["demonstrations"] == 4 for event in steps[:2])


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", MAKERS)
def test_a_file_is_previewed_imitated_and_rewarded(tmp_path: Path, name: str) -> None:
    run_through(tmp_path, rows(name))


@pytest.mark.slow
def test_real_rows_are_previewed_imitated_and_rewarded(tmp_path: Path) -> None:
    run_through(tmp_path, real_rows(5))


def test_real_rows_are_problems_with_right_demonstrations(tmp_path: Path) -> None:
    data = real_rows(50)
    task = built("tasks", "conversations", tmp_path, files={"train": str(json_lines(tmp_path / "real.jsonl", *data))})
    problems = task.problems("train", 0, len(data))
    assert len(problems) == len(data)
    shown = [(problem, one) for problem in problems for one in task.recorded(problem)]
    assert len(shown) == 150  # nothing is to be called for the others
    for problem, trajectory in shown:
        answer = task.answer(trajectory)
        assert answer is not None
        assert task.check(answer, problem)


def test_an_audit_says_that_it_needs_words(tmp_path: Path) -> None:
    json_lines(tmp_path / "data.jsonl", *rows("trl"))
    task = {"use": "conversations", "with": {"files": {"train": "data.jsonl"}}}
    with pytest.raises(UsageError, match="calls"):
        api.audit({**RECIPE, "task": task, "folder": str(tmp_path)}, tries=1, problems=1)
