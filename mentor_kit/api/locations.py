"""Finds the runs that callers name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mentor_kit.core.errors import UsageError
from mentor_kit.core.explanation import shown
from mentor_kit.runs import Run, RunFolder

#: The folder of all runs, in the working directory.
RUNS = Path("runs")


def find_run(run: str | Path | Run, output: str | Path, suits: Callable[[Run], bool]) -> Run:
    """The run that a caller names.

    Args:
        run: a run, its folder, `name/id`, or a recipe's name for its newest run in `output` that suits.
        output: the folder of all runs.
        suits: which runs a name is meant for.

    Raises:
        UsageError: there is none, or `run` is of another type.
    """
    if isinstance(run, Run):
        return run
    if not isinstance(run, str | Path):
        raise UsageError(
            f"{type(run).__name__} is not a run: {shown(run)}", hint="give a run, its folder or a recipe's name"
        )
    return Run.open(run, folder_path(output), suits)


def folder_path(output: str | Path) -> Path:
    """The folder of all runs as a path.

    Raises:
        UsageError: it is not the name of a folder.
    """
    if not isinstance(output, str | os.PathLike):
        raise UsageError(f"output must be a folder, not {type(output).__name__}")
    return Path(output)


def is_own_recipe(file: Path) -> bool:
    """Whether a file is the recipe that a run keeps in its folder."""
    folder = RunFolder(file.parent)
    return file.name == folder.recipe.name and folder.environment.is_file()
