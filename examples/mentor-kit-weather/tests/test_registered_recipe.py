"""The recipe by its name, as `mentorkit run` finds it."""

from __future__ import annotations

from mentor_kit import api


def test_the_recipe_is_found_by_its_name():
    assert api.check("weather").recipe.name == "weather"
