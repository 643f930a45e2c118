"""Evaluations around training, with the shipped tiny student: before it, after it, failed, and of somebody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mentor_kit import api
from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.report import before_after, compare
from mentor_kit.runs import Run
from mentor_kit.stages import SplitPlan
from mentor_kit.stages import evaluate as evaluating
from mentor_kit.stages.collect import CollectStage
from mentor_kit.stages.workload import Workload

pytestmark = pytest.mark.slow

GRPO = "{use: grpo, with: {steps: 2, problems: 2, group: 2, objective: {kl: 0.0}, optimizer: {lr: 5.0e-4}}}"
COLLECT = "{use: collect, with: {problems: 3}}"


def settings(*stages: str, **plan: Any) -> list[str]:
    evaluate = {"on": [{"split": "in-domain", "problems": 6}], **plan}
    return [f"train=[{', '.join(stages)}]", f"evaluate={json.dumps(evaluate)}", "backend.threads=1", "name=tiny"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return api.run("quickstart", overrides=parse_settings(settings(GRPO)), output=tmp_path_factory.mktemp("whole"))


def evaluations(run: Run) -> list[tuple[str, int]]:
    return [(report["stage"], report["step"]) for report in run.evaluations]


@pytest.mark.parametrize("known", [True, False])
def test_the_evaluation_at_the_start_comes_before_the_first_training(
    tmp_path: Path, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After demonstrations were collected, too, and after a stage that says nothing of its work and logs no step."""
    if not known:
        monkeypatch.setattr(CollectStage, "workload", lambda stage, evaluation: Workload())
    run = api.run("quickstart", overrides=parse_settings(settings(COLLECT, GRPO, GRPO)), output=tmp_path)
    assert evaluations(run) == [("1-grpo", 0), ("1-grpo", 2), ("2-grpo", 2)]
    found = before_after(run)
    assert {(change.before_step, change.after_step) for change in found.changes} == {(0, 4)}
    assert found.text().startswith("Accuracy before and after")


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failed_evaluation_is_all_that_is_made_up_for(
    whole: Run, tmp_path: Path, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of two evaluations fails, before or after its episodes are played; the run goes on to the same bits."""
    made = []
    play = evaluating.evaluate_split

    def breaks(*arguments: Any, **more: Any) -> Any:
        made.append(arguments)
        found = play(*arguments, **more) if len(made) == 1 or failing else None
        if len(made) == 2:
            raise DataError("the judge has left")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(evaluating, "evaluate_split", breaks)
        with pytest.raises(DataError, match="the judge has left"):
            api.run("quickstart", overrides=parse_settings(settings(GRPO)), output=tmp_path)
    (failed,) = (Run(path) for path in (tmp_path / "tiny").iterdir())
    assert evaluations(failed) == [("0-grpo", 0)]
    assert [checkpoint.step for checkpoint in failed.checkpoints().all()] == [2]
    resumed = api.resume("tiny", output=tmp_path)
    assert resumed.path == failed.path
    assert [step["step"] for step in resumed.steps] == [1, 2]
    for name in ("0-grpo-000002-in-domain.outcomes.jsonl",):
        assert (resumed.folder.evaluation / name).read_bytes() == (whole.folder.evaluation / name).read_bytes()
    for path in sorted(whole.student.iterdir()):
        assert (resumed.student / path.name).read_bytes() == path.read_bytes()
    states = [dict(run.checkpoints().find("last").state) for run in (whole, resumed)]
    assert states[0] == states[1]


def test_somebody_elses_evaluations_do_not_displace_a_run(whole: Run) -> None:
    root = whole.path.parents[1]
    one = {"on": [SplitPlan(split="in-domain", problems=6)], "output": root}
    overrides = settings(GRPO)
    api.evaluate("quickstart", overrides=parse_settings(overrides), agent="scripted", **one)
    api.evaluate("quickstart", overrides=parse_settings(overrides), **one)
    last = api.evaluate("quickstart", overrides=parse_settings([*overrides, "seed=5"]), trained="tiny", **one)
    exported = api.evaluate(
        "quickstart", overrides=parse_settings([*overrides, f"student.model={whole.student}"]), **one
    )
    arms = {result.arm: (result.steps, result.seeds) for result in compare(["tiny"], root=root).results}
    assert arms == {
        "tiny": (2, (0,)), "tiny: scripted": (0, (0,)), "tiny: tiny-student": (0, (0,)), "tiny: step 2": (2, (0,)),
    }  # fmt: skip
    who = [run.evaluations[0]["agent"] for run in (last, exported)]
    assert [(found["run"], found["checkpoint"], found["steps"]) for found in who] == [
        (whole.folder.key, "0-grpo-step-000002", 2), (whole.folder.key, "student", 2),
    ]  # fmt: skip


def test_evaluations_that_cannot_be_made_end_a_run_before_its_first_step(whole: Run, tmp_path: Path) -> None:
    recorded = f"{{use: recorded, with: {{path: {whole.folder.demonstrations}}}}}"
    overrides = [*settings(GRPO, "evaluate", at_start=False), f"evaluate.agent={recorded}"]
    with pytest.raises(UsageError, match="cannot be evaluated"):
        api.run("quickstart", overrides=parse_settings(overrides), output=tmp_path)
    assert not (tmp_path / "tiny").exists()
