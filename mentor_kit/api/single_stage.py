"""A recipe with one stage in place of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mentor_kit.core.component import ComponentSpec
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.source import Path_, Place


def with_stage(loaded: LoadedRecipe, stage: ComponentSpec, places: Mapping[Path_, Place] | None = None) -> LoadedRecipe:
    """The recipe with one stage in place of its own, and without a page at the end.

    Args:
        loaded: the recipe.
        stage: the stage.
        places: where values of the stage were given, by their path in the new recipe.
    """
    keys, values = (
        {p: v for p, v in d.items() if p[:1] != ("train",)} for d in (loaded.source.keys, loaded.source.values)
    )
    source = replace(loaded.source, keys=keys, values=values | dict(places or {}))
    return replace(loaded, recipe=loaded.recipe.model_copy(update={"train": (stage,), "report": False}), source=source)
