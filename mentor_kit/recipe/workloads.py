"""The stages of a recipe, built, and their workloads."""

from __future__ import annotations

from collections.abc import Sequence

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import MentorKitError, PluginError
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.recipe.model import Recipe
from mentor_kit.stages.evaluation_plan import EvaluationPlan
from mentor_kit.stages.stage import Stage
from mentor_kit.stages.workload import UNKNOWN, Workload


def build_stages(recipe: Recipe, registry: Registry, context: BuildContext) -> list[tuple[str, Stage]]:
    """The stages of the `train` list with their keys, such as `0-grpo`: position and name.

    Raises:
        MentorKitError: one cannot be built here; the message names it.
    """
    return [(f"{index}-{spec.use}", build_stage(spec, registry, context)) for index, spec in enumerate(recipe.train)]


def build_stage(spec: ComponentSpec, registry: Registry, context: BuildContext) -> Stage:
    """One stage.

    Raises:
        PluginError: the plugin built something else than a stage.
        MentorKitError: it cannot be built here.
    """
    stage = registry.build("stages", spec, context)
    if not isinstance(stage, Stage):
        raise PluginError(
            f"the stage {spec.use!r} is a {type(stage).__name__}; expected a `mentor_kit.stages.Stage`",
            hint="this is a fault of the plugin: let its class extend `mentor_kit.stages.Stage`",
        )
    return stage


def workloads(recipe: Recipe, stages: Sequence[tuple[str, Stage]]) -> dict[str, Workload]:
    """The workload of each stage by its key.

    Raises:
        PluginError: a stage fails to return it.
    """
    return {key: workload_of(key, stage, recipe.evaluate) for key, stage in stages}


def workloads_if_known(recipe: Recipe, registry: Registry, context: BuildContext) -> list[Workload]:
    """The workload of each stage, in order; `UNKNOWN` for one that cannot be built before the rest of the recipe is."""
    found = []
    for index, spec in enumerate(recipe.train):
        try:
            stage = build_stage(spec, registry, context)
            found.append(workload_of(f"{index}-{spec.use}", stage, recipe.evaluate))
        except MentorKitError:
            found.append(UNKNOWN)
    return found


def workload_of(key: str, stage: Stage, evaluation: EvaluationPlan) -> Workload:
    """The workload of a stage.

    Raises:
        PluginError: the stage fails to return it, or returns something else.
    """
    try:
        found: object = stage.workload(evaluation)
    except MentorKitError:
        raise
    except Exception as error:
        raise PluginError(
            f"the workload of the stage {key} failed: {type(error).__name__}: {error}",
            hint="this is a fault of the plugin that the stage comes from",
        ) from error
    if not isinstance(found, Workload):
        raise PluginError(
            f"the stage {key} returned {found!r} as its workload; expected a `mentor_kit.stages.Workload`"
        )
    return found
