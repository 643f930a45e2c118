"""The stages of a recipe, built, and their workloads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
        MentorKitError: it cannot be built here, or the plugin built something else.
    """
    stage: Stage = registry.build("stages", spec, context, base=Stage)
    return stage


def workloads(recipe: Recipe, stages: Sequence[tuple[str, Stage]]) -> dict[str, Workload]:
    """The workload of each stage by its key.

    Raises:
        PluginError: a stage fails to return it.
    """
    return {key: workload_of(key, stage, recipe.evaluate) for key, stage in stages}


def workloads_if_known(recipe: Recipe, registry: Registry, context: BuildContext) -> list[Workload]:
    """The workload of each stage, in order; `UNKNOWN` for one that cannot be built before the rest of the recipe is."""
    tried = workloads_or_errors(recipe, registry, context)
    return [UNKNOWN if isinstance(found, MentorKitError) else found for found in tried]


def workloads_or_errors(
    recipe: Recipe, registry: Registry, context: BuildContext
) -> Iterator[Workload | MentorKitError]:
    """The workload of each stage, in order, or the error of building it or asking it."""
    for index, spec in enumerate(recipe.train):
        try:
            yield workload_of(f"{index}-{spec.use}", build_stage(spec, registry, context), recipe.evaluate)
        except MentorKitError as error:
            yield error


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
