"""Finds the tokenizer of a run's student, so that the page can show its tokens as strings."""

from __future__ import annotations

from pathlib import Path

from mentor_kit.core.errors import MentorKitError
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.recipe.assembly import find_model
from mentor_kit.runs import Run
from mentor_kit.utils.hub_cache import downloaded

FILE = "tokenizer.json"


def tokenizer_folder(run: Run) -> Path | None:
    """The folder with the student's `tokenizer.json`; None where there is none on this machine.

    It is looked for in the trained student's folder, then in that of the model which the recipe names: a folder, a
    plugin's student, or a model of the hub that was downloaded before.
    """
    return next((folder for folder in _candidates(run) if (folder / FILE).is_file()), None)


def _candidates(run: Run) -> list[Path]:
    found = [run.folder.student]
    student = run.recipe.get("student")
    name = student.get("model") if isinstance(student, dict) else student
    if not isinstance(name, str) or (found[0] / FILE).is_file():
        return found
    registry = default_registry()
    folder = run.recipe_folder
    try:
        model = find_model(name, folder, registry, BuildContext(registry, run.seed, recipe_folder=folder))
    except MentorKitError:
        return found
    return [*found, Path(model), *downloaded(model)]
