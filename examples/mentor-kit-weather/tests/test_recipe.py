"""The recipe: every name, option and file in it is right."""

from __future__ import annotations

from importlib.resources import files

from mentor_kit import api


def test_the_recipe_passes_its_check():
    checked = api.check(str(files("mentor_kit_weather") / "recipe.yaml"))
    assert checked.recipe.name == "weather"
