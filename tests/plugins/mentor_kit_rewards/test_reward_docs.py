"""docs/rewards.md names every preset, term and option, and its examples are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mentor_kit.hooks import default_registry
from mentor_kit.recipe.checking import load_checked
from mentor_kit.rl.reward import Schedule

REGISTRY = default_registry()
TEXT = (Path(__file__).parents[3] / "docs" / "rewards.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)
PARTS = [part for kind in ("reward_terms", "rewards") for part in REGISTRY.components(kind).values()]  # type: ignore[arg-type]
OURS = [part for part in PARTS if part.owner == "rewards"]


@pytest.mark.parametrize("part", OURS, ids=lambda part: f"{part.kind}-{part.name}")
def test_every_part_and_option_is_explained(part: object) -> None:
    assert f"`{part.name}`" in TEXT or f"### {part.name}" in TEXT  # type: ignore[attr-defined]
    for option in part.options.model_fields:  # type: ignore[attr-defined]
        assert f"`{option}`" in TEXT or f"`{option}:" in TEXT, option


def test_every_key_of_a_schedule_is_explained() -> None:
    assert all(f"`{key}`" in TEXT for key in Schedule.model_fields)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_are_right(number: int, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"extends: quickstart\n{EXAMPLES[number]}", encoding="utf-8")
    assert load_checked(recipe, {}, REGISTRY).recipe.reward is not None
