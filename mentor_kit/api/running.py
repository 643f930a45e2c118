"""Runs a recipe, and resumes runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.checking import check, load_served
from mentor_kit.api.executing import Edit, begin_run, carry_on
from mentor_kit.api.locations import RUNS, find_run, folder_path, is_own_recipe
from mentor_kit.core.errors import RecipeError
from mentor_kit.core.posix import require_posix
from mentor_kit.core.secret import hide
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.hooks.tracker import Tracker
from mentor_kit.recipe.changes import changes
from mentor_kit.recipe.expanding import dump_run
from mentor_kit.recipe.loading import LoadedRecipe, RecipeLike, load_recipe
from mentor_kit.recipe.python_values import NO_OVERRIDES, checked_overrides
from mentor_kit.recipe.settings import combine
from mentor_kit.runs import Run, RunFolder


@checked_arguments
def run(
    recipe: RecipeLike,
    *,
    overrides: Mapping[str, Any] = NO_OVERRIDES,
    output: str | Path = RUNS,
    trackers: Sequence[Tracker] = (),
    registry: Registry | None = None,
) -> Run:
    """Run a recipe from its beginning, in a new run folder.

    Args:
        recipe: a path, the name of a shipped or registered recipe, the data of a recipe as a mapping, a
            `mentor_kit.Recipe`, or one that is loaded already. Relative paths in a recipe from Python start from the
            working directory, those of a file from its folder.
        overrides: values by dotted key, such as `{"train.0.steps": 9}`, applied in order.
        output: the folder that run folders are made in.
        trackers: trackers beside those of the recipe, such as a display.
        registry: the plugins to use; those of the environment if left out.

    Raises:
        RecipeError: the recipe is wrong; nothing was made.
        UsageError: `recipe` or `overrides` are of another type.
        Interrupted: the user stopped the run, which can be resumed.
        MissingError: this is Windows, outside WSL.
        MentorKitError: anything else a user can cause.
    """
    require_posix("a run")
    registry = registry or default_registry()
    root = folder_path(output)
    loaded = load_served(recipe, registry, overrides)
    settings = checked_overrides(overrides)
    folder = RunFolder.create(
        root, loaded.recipe.name, lambda path: dump_run(loaded, registry, path), settings=settings
    )
    return begin_run(loaded, folder, registry, trackers)


@checked_arguments
def resume(
    run: str | Path | Run,
    *,
    overrides: Mapping[str, Any] = NO_OVERRIDES,
    recipe: RecipeLike | None = None,
    output: str | Path = RUNS,
    trackers: Sequence[Tracker] = (),
    registry: Registry | None = None,
) -> Run:
    """Resume a run from its last checkpoint; a run without one starts again in the same folder.

    On a CPU the result is that of an uninterrupted run, to the bit.

    Args:
        run: a run, its folder, `name/id`, or a recipe's name for its newest run in `output` that trains.
        overrides: changes of work yet to come, such as `{"train.0.steps": 100}`: a run can be lengthened. `folder`
            names where the recipe's files are now, if they were moved.
        recipe: the recipe that the run was made of, which may have been edited since; the run's own if left out.
        output: the folder of all runs.
        trackers: as for `run`.
        registry: as for `run`.

    Raises:
        UsageError: there is no such run, or what is changed contradicts what was done.
        RecipeError: the changed recipe is wrong.
        MissingError: this is Windows, outside WSL.
    """
    require_posix("a run")
    registry = registry or default_registry()
    overrides = checked_overrides(overrides)
    folder = find_run(run, output, lambda run: run.trains).folder
    moved = {key: value for key, value in overrides.items() if key == "folder"}
    before = load_served(folder.recipe, registry, moved)
    if recipe is None and not overrides:
        return carry_on(before, folder, registry, trackers)
    settings = {} if recipe is None else folder.settings()
    changed = folder.recipe if recipe is None else recipe
    after = check(changed, overrides=combine(settings, overrides), registry=registry)
    notes = [] if recipe is None or not settings else _overruled(recipe, overrides, after, registry)
    found = changes(before, after, registry)
    edit = Edit(before, found, overrides) if found or moved else None
    return carry_on(after if edit else before, folder, registry, trackers, edit, notes)


def find_edited(
    recipe: str | Path, overrides: Mapping[str, Any] = NO_OVERRIDES
) -> tuple[str | Path, str | Path | None]:
    """The run that a recipe or a run's name stands for when it is resumed, and the recipe that may have been edited.

    A run's own recipe stands for that run, another for the newest run of its name.

    Returns:
        `run` and `recipe` of `resume`.
    """
    file = Path(recipe)
    if not file.is_file():
        return recipe, None
    if is_own_recipe(file):
        return file.parent, None
    return load_recipe(file, overrides).recipe.name, file


def _overruled(recipe: RecipeLike, overrides: Mapping[str, Any], after: LoadedRecipe, registry: Registry) -> list[str]:
    """A note on what the overrides that a run was started with change in a recipe; none where they change nothing."""
    try:
        found = changes(load_recipe(recipe, overrides), after, registry)
    except RecipeError:  # it is no recipe without those overrides
        return []
    name = recipe if isinstance(recipe, str | Path) else "the recipe"
    said = "; ".join(f"{change.key}: {change.after}, where {name} has {change.before}" for change in found)
    return [hide(f"the settings that the run was started with hold: {said} (--set changes them)")] if found else []
