"""The shipped recipes with data of their own, run from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mentor_kit
from mentor_kit.recipe.loading import find_recipe


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data/shop", "data/conversations", "data/reasoning-gym"])
def test_a_shipped_recipe_runs(name: str, tmp_path: Path) -> None:
    if name.endswith("gym"):
        pytest.importorskip("reasoning_gym")
    run = mentor_kit.run(name, overrides={"train.0.steps": 1}, output=tmp_path)
    events = [json.loads(line) for line in (run.folder.path / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["kind"] == "step"]
    assert [step["stage"] for step in steps].count(steps[0]["stage"]) == 1
    assert (run.folder.path / "student" / "config.json").is_file()


def test_the_shops_keys_are_its_prices() -> None:
    """The files beside the recipe, against the tool's own table."""
    folder = find_recipe("data/shop").parent
    names: dict[str, dict[str, int]] = {}
    exec((folder / "shop_tools.py").read_text(encoding="utf-8"), names)
    for split in ("train", "test"):
        rows = [line.split(",") for line in (folder / f"shop-{split}.csv").read_text(encoding="utf-8").splitlines()[1:]]
        assert len(rows) > 5
        for question, answer, article in rows:
            assert int(answer) == names["PRICES"][article] * int(question.split()[2])


@pytest.mark.slow
def test_a_student_learns_from_the_conversations(tmp_path: Path) -> None:
    run = mentor_kit.run("data/conversations", output=tmp_path)
    events = [json.loads(line) for line in (run.folder.path / "events.jsonl").read_text().splitlines()]
    accuracy = [event["values"]["greedy"]["accuracy"] for event in events if event["kind"] == "evaluation"]
    assert accuracy[0] < 0.9 < accuracy[-1]
