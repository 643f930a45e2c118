"""Compares a changed recipe with that of its run: what differs, and whether the run can be resumed with it.

Keys of work that is not done yet may change: evaluations, checkpoints, trackers, the sampler, the backend's options,
later stages, and the adjustable options of the current stage. Keys of finished work are fixed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.core.errors import UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import hide
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.expanding import expanded, portable
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.source import Path_
from mentor_kit.stages.workload import Workload

#: Keys of a recipe that may change at any time.
FREE = frozenset({"evaluate", "checkpoints", "record", "report", "sampler", "trackers"})

#: The value of a missing key.
ABSENT = "nothing"


@dataclass(frozen=True)
class RecipeChange:
    """A changed value of a recipe."""

    path: Path_
    before: Json
    after: Json

    @property
    def key(self) -> str:
        """The key as overrides name it, such as `train.0.steps`."""
        return ".".join(str(step) for step in self.path if step != "with")

    def __str__(self) -> str:
        return hide(f"{self.key}: {_shown(self.before)} -> {_shown(self.after)}")


@dataclass(frozen=True)
class Progress:
    """A run's progress: the stage and step of its last checkpoint."""

    stage: int = -1
    """The stage's place; -1 before the first checkpoint."""
    step: int = 0


def changes(before: LoadedRecipe, after: LoadedRecipe, registry: Registry) -> list[RecipeChange]:
    """Return the differences of two recipes, with the components' defaults filled in.

    Paths are compared as in a run's recipe.
    """
    one, other = (portable(expanded(loaded, registry), loaded.folder, Path("/")) for loaded in (before, after))
    return list(_differences(one, other, ()))


def check_changes(found: Sequence[RecipeChange], progress: Progress, works: Sequence[Workload], hint: str) -> None:
    """Refuse changes that contradict finished work.

    Args:
        found: the differences.
        progress: the run's progress.
        works: the stages' workloads, after the change.
        hint: what the user can do instead.

    Raises:
        UsageError: a change is not allowed; the message has all of them with reasons.
    """
    refused = [f"{change} ({reason})" for change in found if (reason := _contradicts(change, progress, works))]
    if refused:
        raise UsageError("the run cannot be resumed with another recipe:\n" + "\n".join(refused), hint=hint)


def _contradicts(change: RecipeChange, progress: Progress, works: Sequence[Workload]) -> str:
    """Return why a change is not allowed; empty if it is."""
    key = change.path[0]
    if key in FREE or (key == "backend" and change.path[1:2] == ("with",)):
        return ""
    if key == "train":
        return _contradicts_stage(change, progress, works)
    if key == "reward" and not any(work.reward or not work.is_known for work in works[: progress.stage + 1]):
        return ""
    if key == "reward":
        return "a stage that learns from the reward has begun"
    return "fixed once a run has begun"


def _contradicts_stage(change: RecipeChange, progress: Progress, works: Sequence[Workload]) -> str:
    place = change.path[1] if len(change.path) > 1 else 0
    if not isinstance(place, int) or place < progress.stage:
        return "the stage is finished"
    if place > progress.stage:
        return ""
    work = works[place] if place < len(works) else Workload()
    if change.path[2:3] != ("with",) or change.path[3] not in work.adjustable:
        may = f"; of its options only {', '.join(work.adjustable)} can change" if work.adjustable else ""
        return f"the stage has begun{may}"
    if work.steps is not None and work.steps < progress.step:
        return f"{progress.step} steps are done"
    return ""


def _differences(before: Json, after: Json, path: Path_) -> Iterator[RecipeChange]:
    if isinstance(before, dict) and isinstance(after, dict):
        if path and before.get("use", ABSENT) != after.get("use", ABSENT):
            # another component, whose options are unrelated to the former one's
            yield RecipeChange((*path, "use"), before.get("use", ABSENT), after.get("use", ABSENT))
            return
        for key in dict.fromkeys((*before, *after)):
            yield from _differences(before.get(key, ABSENT), after.get(key, ABSENT), (*path, key))
    elif isinstance(before, list) and isinstance(after, list):
        for place in range(max(len(before), len(after))):
            one, other = (items[place] if place < len(items) else ABSENT for items in (before, after))
            yield from _differences(one, other, (*path, place))
    elif before != after or type(before) is not type(after):
        yield RecipeChange(path, before, after)


def _shown(value: Json) -> str:
    if isinstance(value, dict) and "use" in value:
        return str(value["use"])
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 60 else shown[:57] + "..."
