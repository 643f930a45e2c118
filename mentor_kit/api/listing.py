"""Lists the runs that there are."""

from __future__ import annotations

from pathlib import Path

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.locations import RUNS, folder_path
from mentor_kit.core.errors import UsageError
from mentor_kit.runs.listing import RunLister, RunSummary


@checked_arguments
def list_runs(output: str | Path = RUNS, *, last: int | None = None) -> list[RunSummary]:
    """The runs in a folder, newest first, each with its state, step, last accuracy, size and age.

    A folder that ought to be a run and cannot be read as one is in the list with its `fault`.

    Args:
        output: the folder of all runs.
        last: so many of the newest; all if left out.

    Raises:
        UsageError: there is no such folder; a missing `runs` in the working directory has no runs.
    """
    if last is not None and (not isinstance(last, int) or last < 1):
        raise UsageError(f"`list_runs`: `last` is {last!r}; expected a whole number above 0")
    root = folder_path(output)
    if not root.is_dir():
        if root == RUNS and not root.exists():
            return []
        raise UsageError(f"there is no folder {root}", hint="name the folder of all runs, such as --runs runs")
    return RunLister(root).list(last)
