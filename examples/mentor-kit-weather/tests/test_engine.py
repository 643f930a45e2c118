"""The engine: what it refuses, what it writes, and what it reads back."""

from __future__ import annotations

import json

import mentor_kit
import pytest
from mentor_kit.core.errors import DataError, RecipeError
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.recipe.engines import EpisodeRow, PlayedEpisode
from mentor_kit.rl.reward import Breakdown, Scored

ENGINE = "weather"
SMALL = {"train.0.steps": 1, "train.0.problems": 2, "train.0.group": 2, "evaluate.on": [], "report": False}


def exported(folder, **changes):
    return mentor_kit.export_run("quickstart", folder, engine=ENGINE, overrides={**SMALL, **changes}, gpus=1)


def test_a_reference_policy_is_refused_with_its_place(tmp_path):
    with pytest.raises(RecipeError, match=r"train\.0\.with\.objective\.kl"):
        exported(tmp_path / "run", **{"train.0.objective.kl": 0.1})
    assert not (tmp_path / "run").exists()


def test_what_was_played_becomes_a_run(build, tmp_path):
    folder = exported(tmp_path / "run").folder
    assert json.loads((folder / "settings.json").read_text())["steps"] == 1
    with pytest.raises(DataError):
        build("engines", ENGINE).read(folder)
    rows = [EpisodeRow.from_json(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    played = []
    for row in rows:
        for index in range(2):
            trajectory = Trajectory(
                id=f"{row.problem.id}#{index}",
                problem_id=row.problem.id,
                agent="student",
                messages=row.problem.opening(),
                opening=len(row.problem.opening()),
                ending=Ending.MAX_TURNS,
            )
            scored = Scored(trajectory=trajectory, reward=Breakdown(total=float(index)))
            played.append(PlayedEpisode(step=1, row=row.place, index=index, scored=scored))
    (folder / "episodes.jsonl").write_text("".join(f"{one.to_json()}\n" for one in played))
    run = mentor_kit.import_run(folder, output=tmp_path / "runs")
    assert [step["reward"] for step in run.steps] == [0.5]
    assert run.outcome == "done"
