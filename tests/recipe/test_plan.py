"""Dry runs: what stages say of themselves is what is told, and every recipe that comes along has a plan."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pluggy
import pytest
from pydantic import BaseModel, ConfigDict
from shipped_recipes import settings_of, tiny_model, write_data

from mentor_kit import api
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.errors import MissingError, PluginError, RecipeError
from mentor_kit.hooks import Plugins, Registry, hookimpl, load_plugins
from mentor_kit.recipe.loading import recipe_names
from mentor_kit.recipe.plan import RunPlan
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.stages import EvaluationPlan, Stage, Workload

HERE = Path(__file__)
EXAMPLE = HERE.parents[2] / "examples" / "mentor-kit-weather"
SFT = "{use: sft, with: {steps: 3, batch: 5, optimizer: {use: adamw, lr: 1e-4}}}"


def plan(*overrides: str, recipe: str | Path = "quickstart", registry: Registry | None = None) -> RunPlan:
    return api.plan(recipe, overrides=parse_settings(overrides), registry=registry)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def test_a_tracker_without_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mentor_kit.hooks.references.find_spec", lambda package: None if package == "wandb" else find_spec(package)
    )
    found = plan("trackers=[wandb]", "train.0.steps=1")
    (reason,) = found.unavailable
    assert "pip install 'mentor-kit[wandb]'" in reason
    assert reason in found.text()
    assert found.as_data()["unavailable"] == [reason]


#: Those that differ from recipes of the smallest student by its name alone.
OF_LARGER_STUDENTS = re.compile(r"paper/(qwen2\.5-7b|qwen3-8b)/.*")


@pytest.mark.spread(24)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if OF_LARGER_STUDENTS.fullmatch(name) else [])
        for name in recipe_names()
    ],
)
def test_every_recipe_has_a_plan(name: str, data: Path) -> None:
    settings = settings_of(name, data)
    try:
        found = plan(*settings, recipe=name)
    except MissingError as error:
        pytest.skip(error.message)
    recipe = api.check(name, overrides=parse_settings(settings)).recipe
    assert [stage.key for stage in found.stages] == [f"{i}-{spec.use}" for i, spec in enumerate(recipe.train)] or [
        "0-evaluate"
    ]
    for spec, stage in zip(recipe.train, found.stages, strict=False):
        options = spec.options
        if spec.use == "grpo":
            assert stage.episodes == options["steps"] * options["problems"] * options["group"]
        if spec.use == "sft":
            assert (stage.work.steps, stage.work.problems) == (options["steps"], options.get("batch", 16))
            assert (stage.episodes, stage.work.trains) == (0, True)
        if spec.use == "collect":
            assert (stage.work.problems, stage.work.student, stage.work.trains) == (options["problems"], False, False)
    json.dumps(found.as_data())
    assert (found.memory is None) == ({spec.use for spec in recipe.train} == {"collect"})
    if found.memory is not None:
        assert found.memory.total > 0
        assert found.prompts is not None
        assert found.prompts.longest > 0
    assert found.text().startswith(f"{recipe.name}: nothing was run\n")


def test_the_example_packages_recipe_has_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import mentor_kit_weather

    recipe = EXAMPLE / "mentor_kit_weather" / "recipe.yaml"
    found = plan(recipe=recipe, registry=with_plugin(mentor_kit_weather, "weather"))
    first, second, third = found.stages
    assert (first.work.steps, first.work.problems, second.episodes, third.episodes) == (20, 16, 8 * 4, 5 * 4 * 4)


def test_a_batch_of_sft_is_counted_and_generates_nothing() -> None:
    alone = plan(f"train=[{SFT}]", "evaluate={}")
    assert alone.memory is not None
    assert alone.memory.parts["keys and values"] == 0
    assert alone.memory.parts["optimizer"] > 0
    (stage,) = alone.stages
    assert (stage.work.steps, stage.work.problems, stage.episodes) == (3, 5, 0)
    # an evaluation of 7 problems, 3 samples each, holds 21 sequences at once
    played = plan(f"train=[{SFT}]", "evaluate={on: [{split: in-domain, problems: 7, samples: 3}]}")
    wide = plan(
        "train=[{use: grpo, with: {steps: 1, problems: 7, group: 3, optimizer: {lr: 1e-4}}}]", "evaluate={}"
    )  # fmt: skip
    assert played.memory is not None
    assert wide.memory is not None
    assert 0 < played.memory.parts["keys and values"] == wide.memory.parts["keys and values"]


def test_evaluations_alone_train_nothing() -> None:
    found = plan("train=[evaluate]", "evaluate.on=[{split: in-domain, problems: 3, samples: 2}]")
    assert found.memory is not None
    assert [name for name, size in found.memory.parts.items() if not size] == [
        "gradients", "optimizer", "reference", "activations", "logits",
    ]  # fmt: skip
    (stage,) = found.stages
    assert (stage.episodes, stage.as_data()["tokens"]) == (3 * 3, 9 * 256)
    assert found.as_data()["stages"][0]["trains"] is False


def test_the_largest_optimizer_decides() -> None:
    muon = SFT.replace("adamw", "muon")

    def optimizer(stages: str) -> int:
        found = plan(f"train=[{stages}]").memory
        assert found is not None
        return found.parts["optimizer"]

    assert optimizer(muon) < optimizer(SFT) == optimizer(f"{SFT}, {muon}") == optimizer(f"{muon}, {SFT}")


# --- what a run shows, a plan shows


def test_the_prompt_is_the_runs(tmp_path: Path) -> None:
    settings = ["rollout.system=USE THE TOOLS, PLEASE.", "rollout.max_turn_tokens=4"]
    found = plan(*settings)
    assert found.prompts is not None
    assert found.prompts.first.count("USE THE TOOLS, PLEASE.") == 1
    small = ["train.0.steps=1", "train.0.problems=16", "train.0.group=2", "evaluate.on=[]", "evaluate.every=0"]
    done = api.run("quickstart", overrides=parse_settings([*settings, *small]), output=tmp_path)
    prompts = [item.trajectory.tokens for item in done.rollouts()]
    assert found.prompts.longest == max(len(tokens.prompt_ids) for tokens in prompts if tokens is not None)


@pytest.mark.parametrize("words", [10, 200])
def test_a_system_message_has_its_tokens(words: int) -> None:
    plain, longer = plan().prompts, plan(f"rollout.system={'word ' * words}").prompts
    assert plain is not None
    assert longer is not None
    assert longer.longest >= plain.longest + words


def test_a_problem_with_a_system_message_keeps_its_own(data: Path) -> None:
    settings = [f"folder={data}", f"student.model={tiny_model()}", "task.system=MINE", "rollout.system=YOURS"]
    found = plan(*settings, recipe="paper/qwen3-1.7b/mentor")
    assert found.prompts is not None
    assert "MINE" in found.prompts.first
    assert "YOURS" not in found.prompts.first


# --- stages of plugins


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


class Silent(Stage):
    """Gives no workload."""

    def run(self, experiment: Any, context: Any) -> None: ...


class Talks(Silent):
    def __init__(self, said: Any) -> None:
        self.said = said

    def workload(self, evaluation: EvaluationPlan) -> Any:
        return self.said(evaluation) if callable(self.said) else self.said


def stages(**made: Any) -> Registry:
    """The installed parts, and stages with any options."""

    class Theirs:
        @staticmethod
        @hookimpl
        def register_stages(register: Any) -> None:
            for name, stage in made.items():
                register(name, options=Anything, build=lambda options, context, stage=stage: stage)

    return with_plugin(Theirs(), "theirs")


def with_plugin(plugin: Any, name: str) -> Registry:
    from mentor_kit.hooks import specs

    loaded = load_plugins()
    manager = pluggy.PluginManager("mentorkit")
    manager.add_hookspecs(specs)
    for other, module in loaded.manager.list_name_plugin():
        manager.register(module, name=other)
    if not manager.has_plugin(name):
        manager.register(plugin, name=name)
    return Registry(Plugins(manager, loaded.found))


@pytest.mark.parametrize(
    "options",
    [
        "{problems: hard ones}", "{problems: null, group: 4}", "{batch_size: 8}", "{steps: many}", "{steps: null}",
        "{objective: {kl: 1}}", "{optimizer: fast}", "{steps: [1, 2]}", "{group: {of: 3}}", "{}",
    ],
)  # fmt: skip
def test_a_stage_that_says_nothing_is_told_as_unknown(options: str) -> None:
    found = plan(f"train=[{{use: theirs, with: {options}}}]", registry=stages(theirs=Silent()))
    (stage,) = found.stages
    assert not stage.work.is_known
    assert found.as_data()["stages"][0] | {"steps": None, "trains": None} == found.as_data()["stages"][0]
    assert found.memory is not None
    assert found.memory.parts["optimizer"] > 0  # as much as is assumed
    assert any("0-theirs" in note for note in found.memory.notes)


def test_what_a_stage_says_is_told() -> None:
    said = Workload(steps=7, problems=2, episodes=6, sequences=9, optimizer=OptimizerSpec(use="muon"))
    found = plan("train=[{use: theirs, with: {problems: none}}]", registry=stages(theirs=Talks(said)))
    assert (found.stages[0].episodes, found.stages[0].as_data()["tokens"]) == (42, 42 * 256)
    (line,) = [line for line in found.text().splitlines() if "0-theirs" in line]
    assert re.findall(r"\d+ (?:steps|problems|episodes)", line) == ["7 steps", "2 problems", "42 episodes"]


def test_a_stage_that_does_not_use_the_student_loads_none() -> None:
    work = Workload(steps=1, student=False, trains=False)
    found = plan("train=[theirs]", "student.model=./nowhere", registry=stages(theirs=Talks(work)))
    assert (found.model, found.memory, found.prompts) == ("", None, None)
    with pytest.raises(RecipeError, match="nowhere"):
        plan("train=[theirs, sft]", "train.1.steps=1", "train.1.optimizer={lr: 1}", "student.model=./nowhere",
             registry=stages(theirs=Talks(work)))  # fmt: skip


@pytest.mark.parametrize("said", [None, 3, {"steps": 1}, lambda plan: 1 / 0, lambda plan: Workload(steps=-1)])
def test_a_workload_that_is_none_is_the_plugins_fault(said: Any) -> None:
    with pytest.raises(PluginError, match="0-theirs"):
        plan("train=[theirs]", registry=stages(theirs=Talks(said)))
