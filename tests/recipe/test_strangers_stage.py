"""A stage of a stranger's plugin, whose options have names of their own: its workload is all that is asked of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict
from test_plan import with_plugin

from mentor_kit import api
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.errors import PluginError, RecipeError, UsageError
from mentor_kit.core.task import TRAIN
from mentor_kit.hooks import Registry, hookimpl
from mentor_kit.recipe.plan import RunPlan
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.rl.objective import ObjectiveSpec
from mentor_kit.stages import EvaluationPlan, Experiment, SplitUse, Stage, Workload
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.token_groups import rollout_groups
from mentor_kit.stages.training_loop import begin, finish_step

DRILLS = "{use: drills, with: {rounds: 40, exercises: 8, attempts: 16}}"
GRPO = "{use: grpo, with: {steps: 40, problems: 8, group: 16, optimizer: {lr: 1.0e-4}, objective: {kl: 0.0}}}"


class DrillOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    rounds: int = 3
    exercises: int = 2
    attempts: int = 2


class DrillStage(Stage):
    """Likelihood of the student's own rollouts."""

    def __init__(self, options: DrillOptions) -> None:
        self.options = options

    def run(self, experiment: Experiment, context: StageContext) -> None:
        rounds, attempts = self.options.rounds, self.options.attempts
        objective = experiment.build_objective(ObjectiveSpec(preset="sft"))
        for step in range(begin(experiment, context, OptimizerSpec()) + 1, rounds + 1):
            problems = experiment.problems(TRAIN, experiment.seed, self.options.exercises)
            rollouts = experiment.collect_rollouts(problems, attempts, experiment.sampling, context.key, step)
            scored = experiment.score_for_report(rollouts, problems)
            groups = [scored[start : start + attempts] for start in range(0, len(scored), attempts)]
            experiment.policy.forward_backward(rollout_groups(groups, np.ones((len(problems), attempts))), objective)
            experiment.policy.optimizer_step(1e-4)
            context.emit("step", step=step, steps=rounds)
            finish_step(experiment, context, step, rounds)

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        rollouts = self.options.exercises * self.options.attempts
        return Workload(
            steps=self.options.rounds,
            problems=self.options.exercises,
            episodes=rollouts,
            sequences=rollouts,
            splits=(SplitUse(split=TRAIN),),
            adjustable=("rounds",),
        )


class Says(Stage):
    """A stage with any workload."""

    def __init__(self, work: Workload) -> None:
        self.work = work

    def run(self, experiment: Experiment, context: StageContext) -> None:
        raise AssertionError("it is planned, not run")

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        return self.work


def registry(**stages: Callable[[Any, Any], Any]) -> Registry:
    class Theirs:
        @staticmethod
        @hookimpl
        def register_stages(register: Any) -> None:
            register("drills", options=DrillOptions, build=lambda options, context: DrillStage(options))
            for name, build in stages.items():
                register(name, build=build)

    return with_plugin(Theirs(), "theirs")


def plan(*overrides: str, **stages: Callable[[Any, Any], Any]) -> RunPlan:
    return api.plan(
        "quickstart",
        overrides=parse_settings(["evaluate={}", *overrides]),
        registry=registry(**stages),
    )


def says(**fields: Any) -> dict[str, Callable[[Any, Any], Any]]:
    return {"says": lambda options, context: Says(Workload(steps=1, **fields))}


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_its_memory_is_that_of_grpo_of_the_same_sizes(backend: str) -> None:
    pytest.importorskip("mlx.core" if backend == "mlx" else "torch")
    use = f"backend.use={backend}"
    theirs, ours = (plan(use, f"train=[{stage}]") for stage in (DRILLS, GRPO))
    assert theirs.memory is not None
    assert ours.memory is not None
    assert theirs.memory.parts == ours.memory.parts
    assert theirs.stages[0].episodes == ours.stages[0].episodes == 40 * 8 * 16
    single = plan(use, "train=[{use: drills, with: {exercises: 1, attempts: 1}}]")
    assert single.memory is not None
    name = "keys and values"
    # mlx holds at most 64 rows at once
    assert theirs.memory.parts[name] == (128 if backend == "torch" else 64) * single.memory.parts[name] > 0


def test_its_longest_response_and_the_recipes_evaluations_count() -> None:
    def parts(*overrides: str, **fields: Any) -> Any:
        memory = plan("train=[says]", *overrides, **says(**fields)).memory
        assert memory is not None
        return memory.parts["keys and values"]

    short, long = (parts(sequences=4, tokens=tokens) for tokens in (10, 500))
    assert short < parts(sequences=4) < long
    on = "evaluate.on=[{split: in-domain, problems: 9, samples: 3}]"
    assert parts(on, sequences=4) == parts(sequences=27)
    assert parts(on, sequences=4, evaluates=False) == parts(sequences=4)


def test_its_tokens_are_planned() -> None:
    (stage,) = plan("train=[says]", **says(episodes=3, tokens=10)).stages
    assert stage.as_data()["tokens"] == 30
    assert json.loads(json.dumps(stage.as_data()))["episodes"] == 3


@pytest.mark.parametrize(
    ("fields", "settings", "path", "named"),
    [
        ({"reward": True}, ["reward=null"], "train.0.use", "reward"),
        ({"demonstrations": True}, ["teacher=null"], "train.0.use", "demonstrations"),
        ({"teacher": True}, ["teacher=null"], "train.0.use", "teacher"),
        ({"splits": (SplitUse(split="tarin"),)}, [], "train.0.use", "'train'"),
        ({"exports": {"kind": "papyrus"}}, ["train.0.kind=papyrus"], "train.0.with.kind", "'papyrus'"),
    ],
)
def test_its_needs_are_checked_before_the_run(fields: Any, settings: list[str], path: str, named: str) -> None:
    class Options(BaseModel):
        kind: str = ""

    class Theirs:
        @staticmethod
        @hookimpl
        def register_stages(register: Any) -> None:
            register("says", options=Options, build=lambda options, context: Says(Workload(steps=1, **fields)))

    plugins = with_plugin(Theirs(), "theirs")
    with pytest.raises(RecipeError) as caught:
        api.check(
            "quickstart",
            overrides=parse_settings(["train=[{use: says}]", *settings]),
            registry=plugins,
        )
    (line,) = caught.value.message.splitlines()
    assert f"{path}: " in line
    assert named in line


def test_it_can_be_benchmarked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mentor_kit_torch.flops_counter.MEASURED_SECONDS", 0.02)
    small = ["student.model=tiny-blank", "backend.threads=1", "rollout.max_turn_tokens=6", "rollout.max_turns=2"]
    train = "train=[{use: drills, with: {rounds: 50, exercises: 2, attempts: 3}}]"
    found = api.bench(
        "quickstart",
        overrides=parse_settings([*small, train, "evaluate.every=25"]),
        steps=2,
        registry=registry(),
    )
    (stage,) = found.stages
    assert (stage.key, stage.measured, stage.steps, stage.episodes) == ("0-drills", 2, 50, 6)
    assert stage.split["decode"] > 0
    assert stage.trained == stage.sampled > 0
    assert found.evaluations == 3 * 500


def test_a_stage_without_a_workload_cannot_be_benchmarked() -> None:
    class Silent(Stage):
        def run(self, experiment: Experiment, context: StageContext) -> None:
            raise AssertionError("it is not run")

    with pytest.raises(UsageError) as caught:
        api.bench(
            "quickstart", overrides={"train": ["silent"]}, registry=registry(silent=lambda options, context: Silent())
        )
    assert "0-silent" in str(caught.value.hint)


@pytest.mark.slow
def test_its_adjustable_options_may_change_when_a_run_is_resumed(tmp_path: Path) -> None:
    small = ["student.model=tiny-blank", "rollout.max_turn_tokens=6", "rollout.max_turns=1", "evaluate={}"]
    run = api.run(
        "quickstart", overrides=parse_settings([*small, "train=[{use: drills, with: {rounds: 1}}]"]), output=tmp_path,
        registry=registry(),
    )  # fmt: skip
    assert [event["step"] for event in run.steps] == [1]
    run = api.resume(run.path, overrides={"train.0.rounds": 2}, registry=registry())
    assert [event["step"] for event in run.steps] == [1, 2]
    with pytest.raises(UsageError, match=r"train\.0\.attempts"):
        api.resume(run.path, overrides={"train.0.attempts": 3}, registry=registry())


def test_what_is_no_stage_is_the_plugins_fault() -> None:
    class Duck:
        def run(self, experiment: Experiment, context: StageContext) -> None:
            raise AssertionError("it is not run")

    with pytest.raises(PluginError, match="'duck'"):
        plan("train=[duck]", duck=lambda options, context: Duck())


def test_a_stage_that_uses_a_student_it_did_not_ask_for_is_told_so(tmp_path: Path) -> None:
    class Greedy(Stage):
        def run(self, experiment: Experiment, context: StageContext) -> None:
            experiment.policy.info  # noqa: B018 (the property raises)

        def workload(self, evaluation: EvaluationPlan) -> Workload:
            return Workload(steps=1, student=False, trains=False)

    plugins = registry(greedy=lambda options, context: Greedy())
    with pytest.raises(UsageError) as caught:
        api.run("quickstart", overrides={"train": ["greedy"]}, output=tmp_path, registry=plugins)
    assert "Workload(student=True)" in str(caught.value.hint)
