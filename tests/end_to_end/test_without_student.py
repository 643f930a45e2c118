"""Stages that do not use the student need none: no tokenizer, no weights, no library for them, and none are left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mentor_kit import api
from mentor_kit.core.errors import MissingError, RecipeError
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.runs import Run

HEAVY = ("torch", "transformers", "tokenizers", "safetensors", "peft", "mlx", "mlx_lm")
#: Runs a command, and says which of the heavy packages it has imported.
COMMAND = f"""
import json, sys
from mentor_kit.cli.app import run_app
code = run_app(sys.argv[1:])
print(json.dumps({{"code": code, "heavy": [name for name in {HEAVY!r} if name in sys.modules]}}))
"""
NOWHERE = ["--set", "student={model: ./nowhere, revision: none, adapter: lora}"]
GRPO = "{use: grpo, with: {steps: 1, problems: 2, group: 2, objective: {kl: 0.0}, optimizer: {lr: 1.0e-4}}}"
SHORT = ["rollout={max_turns: 6, max_turn_tokens: 6, max_response_tokens: 256}", "evaluate={}", "backend.threads=1"]


def alone(folder: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"output": done.stdout, "errors": done.stderr}


def recorded(folder: Path) -> str:
    """A teacher of demonstrations that were collected before."""
    done = api.collect("quickstart", overrides={"student.model": "./nowhere"}, problems=3, output=folder / "before")
    return f"teacher={{use: recorded, with: {{path: {done.folder.demonstrations}}}}}"


def left(folder: Path) -> set[str]:
    (run,) = (folder / "runs").glob("*/*")
    return {path.name for path in run.iterdir()}


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    "command",
    [
        ["collect", "quickstart", "--problems", "3"],
        ["run", "quickstart", "--set", "train=[{use: collect, with: {problems: 3}}]"],
        ["run", "quickstart", "--dry-run", "--set", "train=[collect]"],
        ["evaluate", "quickstart", "--agent", "scripted", "--problems", "2"],
        ["run", "quickstart", "--set", "train=[{use: collect, with: {problems: 2}}, evaluate]", "--set",
         "evaluate={agent: scripted, on: [{split: in-domain, problems: 2}]}"],
    ],
    ids=["collect", "run", "dry-run", "evaluate", "both"],
)  # fmt: skip
def test_a_student_that_is_not_used_is_not_looked_for(command: list[str], tmp_path: Path) -> None:
    found = alone(tmp_path, *command, *NOWHERE)
    assert (found["code"], found["heavy"]) == (0, []), found["errors"]
    if "--dry-run" not in command:
        assert not left(tmp_path) & {"student", "checkpoints"}


def test_recorded_demonstrations_are_collected_without_a_student(tmp_path: Path) -> None:
    found = alone(tmp_path, "collect", "quickstart", "--problems", "3", "--set", recorded(tmp_path), *NOWHERE)
    assert (found["code"], found["heavy"]) == (0, []), found["errors"]
    (run,) = (tmp_path / "runs").glob("*/*")
    assert len(Run.open(run).demonstrations()) == 3


def test_without_its_packages_a_backend_is_missed_where_the_student_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mentor_kit_torch

    from mentor_kit.backend.requirements import Requirements
    from mentor_kit.hooks import Registry, load_plugins

    monkeypatch.setattr(mentor_kit_torch, "REQUIREMENTS", Requirements("torch", ("no_such_package",)))
    registry = Registry(load_plugins())
    done = api.collect("quickstart", problems=2, output=tmp_path, registry=registry)
    assert len(done.demonstrations()) == 2
    with pytest.raises(MissingError, match="no_such_package"):
        api.run("quickstart", overrides=parse_settings(SHORT), output=tmp_path, registry=registry)


@pytest.mark.spread(2)
@pytest.mark.parametrize("stages", ["evaluate", "{use: collect, with: {problems: 2}}, evaluate", "evaluate, evaluate"])
def test_evaluating_a_student_leaves_no_weights(stages: str, tmp_path: Path) -> None:
    on = "evaluate.on=[{split: in-domain, problems: 2}]"
    done = api.run("quickstart", overrides=parse_settings([*SHORT, f"train=[{stages}]", on]), output=tmp_path)
    assert len(done.evaluations) >= 1
    assert not {"student", "checkpoints"} & {path.name for path in done.path.iterdir()}


def test_a_student_that_cannot_be_loaded_costs_no_demonstrations(tmp_path: Path) -> None:
    """It is looked for before the teacher, who may cost money, is asked."""
    train = f"train=[{{use: collect, with: {{problems: 3}}}}, {GRPO}]"
    with pytest.raises(RecipeError, match="nowhere"):
        api.run(
            "quickstart",
            overrides=parse_settings([*SHORT, train, "student.model=./nowhere"]),
            output=tmp_path,
        )
    assert not list(tmp_path.glob("*/*"))
    done = api.run("quickstart", overrides=parse_settings([*SHORT, train]), output=tmp_path / "right")
    assert len(done.demonstrations()) >= 3
    assert done.student.is_dir()


@pytest.mark.spread(1)
@pytest.mark.parametrize("first", ["{use: collect, with: {problems: 2}}", "evaluate"])
def test_an_evaluation_at_the_start_comes_before_the_first_stage_that_trains(first: str, tmp_path: Path) -> None:
    on = "evaluate={every: 1, on: [{split: in-domain, problems: 2, samples: 0}]}"
    stages = f"train=[{first}, {GRPO}, {GRPO}]"
    done = api.run("quickstart", overrides=parse_settings([*SHORT, stages, on]), output=tmp_path)
    played = [(report["stage"], report["step"]) for report in done.evaluations if report["stage"] != "0-evaluate"]
    assert played == [("1-grpo", 0), ("1-grpo", 1), ("2-grpo", 1)]


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (["student.model=./nowhere"], 2),
        (["backend={use: torch, with: {device: 'cuda:99'}}"], 3),
        (["train.0.objective={preset: opd}"], 2),  # the scripted teacher cannot be distilled from
        (["student.checkpoint=./nowhere"], 2),
        (["tools=[{use: python, with: {module: nowhere.py}}]"], 2),
        (["task={use: rows, with: {files: {train: nowhere.csv}}}"], 2),
    ],
)
def test_a_run_that_cannot_begin_leaves_no_folder(
    settings: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mentor_kit.cli.app import run_app

    monkeypatch.chdir(tmp_path)
    found = run_app(["run", "quickstart", *(word for one in (*SHORT, *settings) for word in ("--set", one))])
    assert (found, list(tmp_path.glob("runs/*/*"))) == (code, []), capsys.readouterr().err
