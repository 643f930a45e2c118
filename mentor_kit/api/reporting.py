"""Makes the page that shows runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.locations import RUNS, find_run
from mentor_kit.api.rescoring import rescore
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import UsageError
from mentor_kit.rl.reward import RewardSpec
from mentor_kit.runs import Run

if TYPE_CHECKING:
    from mentor_kit.report.page import WrittenPage


@checked_arguments
def report(
    runs: str | Path | Run | Sequence[str | Path | Run],
    target: str | Path,
    *,
    rollouts: str = "all",
    megabytes: float = 20.0,
    rescored: Sequence[str | ComponentSpec | RewardSpec | Mapping[str, Any]] = (),
    output: str | Path = RUNS,
) -> WrittenPage:
    """Write a page that shows runs: one HTML file, which opens from disk without any network.

    Args:
        runs: one run or several, each a run, its folder, `name/id`, or a recipe's name for its newest run. A file of
            scored episodes among them (`.jsonl`, such as a chat's) is shown with the rollouts of the first run.
        target: the file to write; an old one is replaced.
        rollouts: which training rollouts the page keeps: `all`, `none`, `every=N` (every Nth recorded step) or
            `worst=N` (the N groups with the lowest mean reward).
        megabytes: the largest size of the file in MB; what does not fit is left out, and the page says so.
        rescored: rewards whose pay for the runs' rollouts the page shows beside the run's own, as `rescore` takes them;
            the results are kept in the run folders, and a page shows those that were kept before without this.
        output: the folder of all runs.

    Returns:
        The page that was written, with what was left out.

    Raises:
        UsageError: there is no such run, no run beside a file of episodes, an option is wrong, or the target is a
            folder.
        DataError: a file of a run cannot be read.
        MentorKitError: the file cannot be written.
    """
    from mentor_kit.report.page import PageLimits, write_page

    if not isinstance(target, str | Path):
        raise UsageError(f"target must be a file, not {type(target).__name__}")
    limits = PageLimits.of(rollouts, megabytes)
    named = [runs] if isinstance(runs, str | Path | Run) else list(runs)
    files = [Path(name) for name in named if isinstance(name, str | Path) and Path(name).is_file()]
    others = [run for run in named if isinstance(run, Run) or Path(run) not in files]
    found = [find_run(run, output, lambda run: run.has_started) for run in others]
    if files and not found:
        raise UsageError(f"{files[0]} is a file of episodes", hint="name the run that they belong to, too")
    unique = list({run.path.resolve(): run for run in found}.values())
    if rescored:
        for run in unique:
            rescore(run, rewards=rescored, keep=True)
    return write_page(unique, Path(target), limits, files)
