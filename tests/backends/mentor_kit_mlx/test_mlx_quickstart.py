"""The quickstart on mlx, with fewer steps: the same recipe, and a student that transformers loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from mlx_students import load
from torch_students import Float64Twin

from mentor_kit.api import run
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.testing.material import drive, log_softmax, request

FEWER = [
    "backend.use=mlx",
    "train.0.steps=2",
    "train.0.problems=2",
    "train.0.group=2",
    "train.0.minibatches=1",
    "rollout={max_turns: 6, max_turn_tokens: 32, max_response_tokens: 256}",
    "evaluate.every=0",
    "evaluate.on.0.problems=2",
    "evaluate.on.1.problems=2",
]


def test_the_quickstart_runs_on_mlx(tmp_path: Path) -> None:
    done = run("quickstart", overrides=parse_settings(FEWER), output=tmp_path)
    events = [json.loads(line) for line in (done.path / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["kind"] == "step"]
    assert len(steps) == 2
    # what is trained on is what was sampled
    assert all(step["values"]["mismatch_max"] < 1e-4 for step in steps)
    student, twin = load(done.path / "student"), Float64Twin(done.path / "student")
    item = request("a", [5, 6, 7, 8], max_new_tokens=12)
    found = drive(student.engine(), [item])["a"]
    rows = log_softmax(twin([*item.context, *found.ids])[len(item.context) - 1 : -1], 1.0)
    np.testing.assert_allclose(found.log_probs, rows[np.arange(len(found.ids)), list(found.ids)], atol=1e-4)
