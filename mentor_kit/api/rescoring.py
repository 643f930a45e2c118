"""Computes what other rewards would have paid for a run's episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.locations import RUNS, find_run
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import MentorKitError, UsageError
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.python_values import NO_OVERRIDES, checked_overrides
from mentor_kit.rl.reward import RewardSpec
from mentor_kit.runs import Run

if TYPE_CHECKING:
    from mentor_kit.report.rescore import Rescored


@checked_arguments
def rescore(
    run: str | Path | Run,
    *,
    rewards: Sequence[str | ComponentSpec | RewardSpec | Mapping[str, Any]] = (),
    overrides: Mapping[str, Any] = NO_OVERRIDES,
    between: tuple[int, int] | None = None,
    evaluations: bool = False,
    keep: bool = False,
    progress: Callable[[int, int], None] | None = None,
    output: str | Path = RUNS,
    registry: Registry | None = None,
) -> Rescored:
    """Compute what other rewards would have paid for the rollouts that a run has; nothing is sampled again.

    The run's own reward is computed anew, too, and compared with what is recorded.

    Args:
        run: a run, its folder, `name/id`, or a recipe's name for its newest run that trains.
        rewards: presets' names, `ComponentSpec`s or mappings of them, gates and terms (`RewardSpec`); every preset if
            neither these nor overrides are given.
        overrides: changes of the run's own reward, such as `{"reward.tools": 0.5}`, which make one reward more.
        between: the first and the last step to score; all if left out.
        evaluations: score the evaluated episodes in place of the training rollouts.
        keep: write the result into the run folder, where reports find it.
        progress: called with how many steps or evaluations are done, and how many there are.
        output: the folder of all runs.
        registry: the plugins to use.

    Raises:
        UsageError: there is no such run, it has no such episodes, or an override is not of the reward.
        RecipeError: a reward is wrong.
        DataError: a file of the run cannot be read.
        MentorKitError: no reward can be computed for this run, or the result cannot be written.
    """
    from mentor_kit.report.rescore import rescore as rescore_run
    from mentor_kit.report.rescore.kept import keep_rescored

    if isinstance(rewards, str | Mapping) or not isinstance(rewards, Sequence):
        raise UsageError("`rescore`: `rewards` must be a list", hint='for example rewards=["sparse"]')
    wrong = [given for given in rewards if not isinstance(given, str | ComponentSpec | RewardSpec | Mapping)]
    if wrong:
        raise UsageError(f"`rescore`: {wrong[0]!r:.100} is not a reward", hint='for example rewards=["sparse"]')
    found = find_run(run, output, lambda run: run.trains)
    result = rescore_run(
        found,
        rewards,
        settings=checked_overrides(overrides),
        between=between,
        evaluations=evaluations,
        progress=progress,
        registry=registry or default_registry(),
    )
    if keep:
        try:
            keep_rescored(found, result)
        except MentorKitError as error:  # a run that is not the caller's, or read-only: the result is what counts
            return result.with_note(f"the result is not kept in the run folder: {error.message}")
    return result
