"""Settings with which a run fits into a device's memory, found by estimating it with each of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from mentor_kit.backend.memory import DeviceMemory, Saving
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.recipe.assembly import backend_of, student_spec
from mentor_kit.recipe.loading import LoadedRecipe, validated
from mentor_kit.recipe.memory import estimate_memory
from mentor_kit.recipe.memory_loads import memory_loads
from mentor_kit.recipe.memory_shares import Guest
from mentor_kit.recipe.settings import apply_overrides, parse_settings
from mentor_kit.stages.workload import Workload

#: The setting that trains an adapter in place of all weights.
ADAPTER = "student.adapter=lora"


@dataclass(frozen=True)
class Smaller:
    """Settings with which a run takes less memory."""

    settings: tuple[str, ...]
    total: int
    """The estimate with them, in bytes."""

    def text(self) -> str:
        """The settings as arguments of `mentorkit run`."""
        return " ".join(f"--set {setting}" for setting in self.settings)


def device_of(loaded: LoadedRecipe, registry: Registry, context: BuildContext) -> DeviceMemory | None:
    """The memory of the device that the recipe's backend runs on; None where it is not known."""
    return backend_of(loaded.recipe, registry, context).device_memory()


def fitting(
    loaded: LoadedRecipe,
    registry: Registry,
    context: BuildContext,
    prompt: int,
    works: Mapping[str, Workload],
    usable: int,
    guests: Sequence[Guest] = (),
) -> Smaller | None:
    """The settings that change the run least and make it fit into `usable` bytes; None where there are none.

    An adapter comes last, as it makes another experiment of the run.

    Args:
        loaded: the recipe.
        registry: the plugins to use.
        context: for building the backend.
        prompt: tokens of the longest prompt.
        works: the workload of each stage by its key.
        usable: bytes.
        guests: the recipe's other models.
    """
    for first in ((), (ADAPTER,)):
        if first and loaded.recipe.student.adapter is not None:
            break
        changed = _with(loaded, first)
        load, *_ = memory_loads(changed.recipe, prompt, works)
        savings = backend_of(changed.recipe, registry, context).savings(student_spec(changed, registry, context), load)

        def total(settings: Sequence[str], changed: LoadedRecipe = changed) -> int:
            found = estimate_memory(_with(changed, settings), registry, context, prompt, works, usable, guests)
            return 0 if found is None else found.total

        if chosen := _mildest(savings, total, usable):
            settings = (*first, *chosen)
            return Smaller(settings, total(chosen))
        if first and total(()) <= usable:
            return Smaller(first, total(()))
    return None


def _mildest(savings: Sequence[Saving], total: Callable[[Sequence[str]], int], usable: int) -> list[str]:
    """A setting for each saving that is needed: all at their strongest, then each as weak as still fits."""
    chosen: list[Json | None] = [saving.values[-1] for saving in savings]

    def settings() -> list[str]:
        return [
            f"backend.{saving.option}={json.dumps(value)}".replace('"', "")
            for saving, value in zip(savings, chosen, strict=True)
            if value is not None
        ]

    if not savings or total(settings()) > usable:
        return []
    # the savings that cost most come last, and are weakened first
    for place in reversed(range(len(savings))):
        for value in (None, *savings[place].values):
            chosen[place] = value
            if total(settings()) <= usable:
                break
    return settings()


def _with(loaded: LoadedRecipe, settings: Sequence[str]) -> LoadedRecipe:
    """The recipe with settings of its student and backend."""
    if not settings:
        return loaded
    source = deepcopy(loaded.source)
    apply_overrides(source, parse_settings(settings))
    changed = validated(source, loaded.folder).recipe
    update = {"student": changed.student, "backend": changed.backend}
    return replace(loaded, source=source, recipe=loaded.recipe.model_copy(update=update))
