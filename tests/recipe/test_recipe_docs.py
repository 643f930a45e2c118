"""docs/recipes.md names every key; its examples, and those of teachers, families and objectives, are right."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from pydantic import BaseModel
from recipe_helpers import write

from mentor_kit.hooks import Registry, default_registry, load_plugins
from mentor_kit.recipe.checking import expand_reward, load_checked
from mentor_kit.recipe.model import CheckpointPlan, LoraOptions, Recipe, RecordPlan, Rollout, Student
from mentor_kit.rl.objective import PRESETS, ObjectiveSpec
from mentor_kit.rl.reward import GateSpec, RewardSpec, TermSpec
from mentor_kit.stages.evaluation_plan import EvaluationPlan, SplitPlan

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "recipes.md").read_text(encoding="utf-8")
PAGES = TEXT + "".join(
    (DOCS / name).read_text(encoding="utf-8") for name in ("teachers.md", "families.md", "objectives.md")
)
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGES, flags=re.DOTALL)
MODELS = (Recipe, Student, LoraOptions, Rollout, EvaluationPlan, SplitPlan)
MODELS += (CheckpointPlan, RecordPlan, RewardSpec, GateSpec, TermSpec)


@pytest.mark.parametrize("model", MODELS)
def test_every_key_is_explained(model: type[BaseModel]) -> None:
    for name, info in model.model_fields.items():
        key = info.alias or name
        assert f"`{key}`" in TEXT or f"{key}:" in TEXT, key


@pytest.mark.parametrize("stage", ["grpo", "sft", "collect", "evaluate", "export"])
def test_every_option_of_a_stage_is_explained(stage: str) -> None:
    for name in default_registry().components("stages")[stage].options.model_fields:
        assert f"`{name}`" in TEXT, name


def test_every_objective_is_explained() -> None:
    text = (DOCS / "objectives.md").read_text(encoding="utf-8")
    for name in (*PRESETS, *(name for name in ObjectiveSpec.model_fields if name != "preset")):
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_are_right(here: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEACHER_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "a key for examples")
    text = EXAMPLES[number]
    whole = text if "mentorkit: 1" in text or "extends:" in text else f"extends: quickstart\n{text}"
    monkeypatch.syspath_prepend(str(DOCS.parent / "examples" / "mentor-kit-objectives"))
    # the page on objectives uses the loss and the estimator of that package
    example = EntryPoint("objectives", "mentor_kit_objectives", "mentorkit")
    load_checked(write(here, whole), {}, Registry(load_plugins([*entry_points(group="mentorkit"), example])))


def test_the_reward_that_is_written_out_is_the_preset(here: Path) -> None:
    (example,) = [text for text in EXAMPLES if "gates:" in text]
    registry = default_registry()
    own = load_checked(write(here, f"extends: quickstart\n{example}"), {}, registry).recipe.reward
    assert own == expand_reward(load_checked("quickstart", {}, registry), registry)
