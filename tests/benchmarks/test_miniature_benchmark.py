"""What `make miniature` would run: recipes and settings are right, and the arms that distil get the trained model."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import IO

import pytest

from mentor_kit.core.event import RUN_END, Event
from mentor_kit.hooks import default_registry
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.settings import parse_settings

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
miniature = pytest.importorskip("miniature", reason="the benchmarks are not there")


def test_every_arm_of_every_world_is_run_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, ...]] = []

    def pretend(*arguments: str, log: IO[str] | None = None, threads: int = 1) -> int:
        made.append(arguments)
        if arguments[0] == "run":
            folder = Path(arguments[arguments.index("--output") + 1])
            run = folder / arguments[1].replace("/", "-") / "id"
            run.mkdir(parents=True)
            if not arguments[1].endswith("/untrained"):  # a run that trains nothing leaves no student
                (run / "student").mkdir()
            (run / "recipe.yaml").touch()
            (run / "events.jsonl").write_text(Event.now(RUN_END, "", {"outcome": "done"}).to_json() + "\n")
        return 0

    monkeypatch.setattr(miniature.jobs, "mentorkit", pretend)
    command = ["miniature.py", "--output", str(tmp_path), "--outcomes", str(tmp_path), "--seeds", "2", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", command)
    miniature.main()
    runs = [arguments for arguments in made if arguments[0] == "run"]
    assert runs[0][1] == "miniature/teacher"
    # seven arms, a control and two long ones in two worlds; in records two arms fewer
    assert len(runs) == 1 + 2 * (10 + 10 + 8)
    teacher = tmp_path / "teacher" / "miniature-teacher" / "id" / "student"
    steps: list[int] = []
    for _, recipe, *rest in runs[1:29]:  # those of one seed
        settings = [rest[place + 1] for place, word in enumerate(rest) if word == "--set"]
        assert "seed=0" in settings
        if not recipe.endswith(("/distill", "/mentor-sod", "/mentor")):
            continue
        loaded = load_checked(recipe, parse_settings(settings), default_registry())
        (stage,) = loaded.recipe.train
        steps.append(stage.options.get("steps", 0))
        asked = stage.options.get("teacher")
        assert (asked is not None) == recipe.endswith(("/distill", "/mentor-sod"))
        if asked is not None:
            assert asked["with"]["model"] == str(teacher)
        trained = loaded.recipe.task.options["train"][0]["task"]
        assert (trained == "records") == recipe.startswith("miniature/records/")
    assert sorted(steps) == [40] * 7 + [120] * 3
    compared = [arguments for arguments in made if arguments[0] == "compare"]
    assert [len([word for word in arguments if word.endswith("/id")]) for arguments in compared] == [16, 16, 12]
    made.clear()
    miniature.main()  # nothing is run twice
    assert [arguments[0] for arguments in made] == ["compare", "compare", "compare"]


def test_another_machine_goes_on_behind_the_first_seeds() -> None:
    arms = miniature.arms_of(("neutral", "records"), range(3, 5))
    assert Counter((arm.world, arm.seed) for arm in arms) == {
        ("neutral", 3): 10,
        ("records", 3): 8,
        ("neutral", 4): 10,
        ("records", 4): 8,
    }
