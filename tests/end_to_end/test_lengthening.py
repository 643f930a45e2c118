"""A run goes on with a changed recipe where only work yet to come is changed; all other changes are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mentor_kit import api
from mentor_kit.cli.app import run_app
from mentor_kit.core.errors import Interrupted, UsageError
from mentor_kit.core.event import Event
from mentor_kit.hooks import Tracker
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.runs import Run

OPTIMIZER = "optimizer: {use: adamw, lr: 5.0e-4, schedule: %s}"
GRPO = "{use: grpo, with: {steps: %d, problems: 2, group: 3, objective: {preset: grpo, kl: 0.01}, " + OPTIMIZER + "}}"
SFT = "{use: sft, with: {steps: %d, batch: 2, " + OPTIMIZER + "}}"
SMALL = [
    "rollout={max_turns: 6, max_turn_tokens: 8, max_response_tokens: 256}",
    "evaluate={at_start: false, on: [{split: in-domain, problems: 2, samples: 0}]}",
    "checkpoints.every=1",
    "backend.threads=1",
]


def run(folder: Path, *stages: str, settings: tuple[str, ...] = (), **options: Any) -> Run:
    overrides = [*SMALL, f"train=[{', '.join(stages)}]", *settings]
    return api.run("quickstart", overrides=parse_settings(overrides), output=folder, **options)


def weights(done: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(done.student.iterdir())}


def rollouts(done: Run) -> dict[str, bytes]:
    return {str(path.relative_to(done.path)): path.read_bytes() for path in done.folder.rollouts.rglob("*.jsonl")}


def rates(done: Run) -> list[float]:
    return [step["learning_rate"] for step in done.steps]


@pytest.mark.parametrize("stage", [pytest.param(GRPO, id="grpo"), pytest.param(SFT, id="sft", marks=pytest.mark.slow)])
def test_two_steps_and_two_more_are_four(stage: str, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", stage % (4, "constant"))
    short = run(tmp_path / "short", stage % (2, "constant"))
    assert weights(short) != weights(whole)
    longer = api.resume(short, overrides={"train.0.steps": 4})
    assert longer.path == short.path
    assert weights(longer) == weights(whole)
    assert rollouts(longer) == rollouts(whole)
    assert [step["step"] for step in longer.steps] == [1, 2, 3, 4]
    assert longer.recipe["train"][0]["with"]["steps"] == 4
    (line,) = [json.loads(line) for line in longer.folder.changes.read_text().splitlines()]
    assert (line["settings"], line["changes"]) == ({"train.0.steps": 4}, {"train.0.steps": [2, 4]})


@pytest.mark.slow
def test_a_schedule_follows_the_new_number_of_steps(tmp_path: Path) -> None:
    whole, short = (run(tmp_path / name, SFT % (steps, "linear")) for name, steps in (("whole", 4), ("short", 2)))
    longer = api.resume(short, overrides={"train.0.steps": 4})
    assert rates(longer)[:2] == rates(Run(short.folder))[:2]
    assert rates(longer)[2:] == rates(whole)[2:]


@pytest.mark.slow
def test_what_comes_after_the_training_is_made_anew(tmp_path: Path) -> None:
    stages = (GRPO % (1, "constant"), "evaluate", "{use: export, with: {name: kept}}")
    short = run(tmp_path, *stages)
    before = (short.path / "kept" / "model.safetensors").read_bytes()
    longer = api.resume(short, overrides={"train.0.steps": 2})
    assert (longer.path / "kept" / "model.safetensors").read_bytes() != before
    assert [(e["stage"], e["step"]) for e in longer.evaluations] == [("0-grpo", 1), ("0-grpo", 2), ("1-evaluate", 0)]
    assert [event.stage for event in longer.events if event.kind == "export"] == ["2-export"]
    assert longer.outcome == "done"


def test_a_stage_is_added(tmp_path: Path) -> None:
    first, second = SFT % (1, "constant"), GRPO % (1, "constant")
    whole = run(tmp_path / "whole", first, second)
    short = run(tmp_path / "short", first)
    longer = api.resume(short, overrides=parse_settings([f"train=[{first}, {second}]"]))
    assert weights(longer) == weights(whole)
    assert [step["stage"] for step in longer.steps] == ["0-sft", "1-grpo"]


@pytest.mark.slow
def test_a_stage_that_has_not_begun_is_replaced(tmp_path: Path) -> None:
    first, second = SFT % (1, "constant"), GRPO % (3, "constant")

    class Stop(Tracker):
        def event(self, event: Event) -> None:
            if event.kind == "step" and event.stage == "0-sft":
                raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        run(tmp_path, first, second, trackers=[Stop()])
    # the first stage's last checkpoint had not been written: all of it comes again, with other stages
    (folder,) = tmp_path.glob("quickstart/*")
    done = api.resume(folder, overrides=parse_settings([f"train=[{first}, evaluate]"]))
    assert [event.stage for event in done.events if event.kind == "step"] == ["0-sft"]
    assert {path.name for path in done.folder.rollouts.glob("*")} == set()


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("seed=5", "seed"), ("student.model=tiny-blank", "student.model"), ("train.0.group=4", "train.0.group"),
        ("reward=sparse", "reward.use"), ("train.0.steps=1", "train.0.steps"), ("teacher=null", "teacher"),
        ("rollout.temperature=0.5", "rollout.temperature"), ("train.0.optimizer.lr=1", "train.0.optimizer.lr"),
        ("name=other", "name"), ("tools=[]", "tools.0"),
    ],
)  # fmt: skip
def test_what_contradicts_the_run_is_refused_and_changes_nothing(
    setting: str, key: str, finished: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def everything() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in finished.path.rglob("*") if path.is_file()}

    before = everything()
    with pytest.raises(UsageError) as caught:
        api.resume(finished, overrides=parse_settings([setting, "evaluate.every=1"]))
    assert key in caught.value.message
    assert "evaluate.every" not in caught.value.message
    assert str(finished.path) in str(caught.value.hint)
    assert run_app(["run", str(finished.path), "--resume", "--set", setting]) == 2
    assert key in capsys.readouterr().err
    assert everything() == before
    assert finished.outcome == "done"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("finished"), GRPO % (2, "constant"))


# --- a recipe file that was edited since

RECIPE = """\
extends: quickstart
name: mine
rollout: {max_turns: 6, max_turn_tokens: 8, max_response_tokens: 256}
evaluate: {at_start: false, on: [{split: in-domain, problems: 2, samples: 0}]}
train:
  - use: sft
    with: {steps: 1, batch: 2, optimizer: {use: adamw, lr: 5.0e-4, schedule: constant}}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def mentorkit(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run_app([*arguments, "--plain"])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_an_edited_recipe_is_taken_up_and_named(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mentorkit(capsys, "run", "recipe.yaml")[0] == 0
    assert "changed" not in mentorkit(capsys, "run", "recipe.yaml", "--resume")[1]
    recipe.write_text("# longer\n" + RECIPE.replace("steps: 1", "steps: 2"))
    code, said = mentorkit(capsys, "run", "recipe.yaml", "--resume")
    assert code == 0
    assert "train.0.steps: 1 -> 2" in said
    (folder,) = Path("runs/mine").iterdir()
    assert len(Run(folder).steps) == 2


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("edit", "key"),
    [
        (("name: mine", "name: mine\nseed: 3"), "seed"),
        (("batch: 2", "batch: 3"), "train.0.batch"),
        (("max_turns: 6", "max_turns: 5"), "rollout.max_turns"),
        (("lr: 5.0e-4", "lr: 5.0e-3"), "train.0.optimizer.lr"),
        (("name: mine", "name: mine\nteacher: {use: noisy-demonstrator}"), "teacher.use"),
    ],
)
def test_an_edit_that_contradicts_the_run_is_refused(
    edit: tuple[str, str], key: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mentorkit(capsys, "run", "recipe.yaml")[0] == 0
    recipe.write_text(RECIPE.replace(*edit))
    code, said = mentorkit(capsys, "run", "recipe.yaml", "--resume")
    assert (code, key in said) == (2, True)
    # the run itself goes on as it was
    (folder,) = Path("runs/mine").iterdir()
    assert mentorkit(capsys, "run", str(folder), "--resume")[0] == 0


@pytest.mark.slow
def test_settings_of_the_start_still_hold(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mentorkit(capsys, "run", "recipe.yaml", "--set", "train.0.steps=2")[0] == 0
    code, said = mentorkit(capsys, "run", "recipe.yaml", "--resume")
    assert code == 0
    assert "changed" not in said
    # the file says something else, which is no secret
    assert "train.0.steps: 2" in said
    assert mentorkit(capsys, "run", "recipe.yaml", "--resume", "--set", "train.0.steps=3")[0] == 0
    assert mentorkit(capsys, "run", "recipe.yaml", "--resume")[0] == 0
    (folder,) = Path("runs/mine").iterdir()
    assert len(Run(folder).steps) == 3


@pytest.mark.slow
def test_the_last_checkpoint_of_every_stage_stays(tmp_path: Path) -> None:
    stages = (SFT % (2, "constant"), GRPO % (3, "constant"))
    done = run(tmp_path, *stages, settings=("checkpoints.keep_last=1", "checkpoints.best=null"))
    assert {path.name for path in done.folder.checkpoints.iterdir()} == {"0-sft-step-000002", "1-grpo-step-000003"}
    alone = run(tmp_path / "alone", stages[0])
    exported = api.export(done, tmp_path / "student", checkpoint="0-sft-step-000002")
    assert (exported / "model.safetensors").read_bytes() == (alone.student / "model.safetensors").read_bytes()
