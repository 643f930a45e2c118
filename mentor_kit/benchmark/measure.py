"""Runs a few steps of every training stage of a recipe, and measures where the time goes.

The first step of a stage warms the machine up and does not count. Nothing is written; a teacher that costs money is
asked as in a run of so many steps.
"""

from __future__ import annotations

import sys
from contextlib import closing, suppress

from mentor_kit.backend.policy import Policy
from mentor_kit.benchmark.arithmetic import evaluation_episodes, evaluation_seconds, stage_bench
from mentor_kit.benchmark.clocked import clocked
from mentor_kit.benchmark.result import Bench
from mentor_kit.benchmark.step_log import MeasuredEnough, StepLog
from mentor_kit.core.errors import UsageError
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.assembly import Components, assemble, assemble_components
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.workloads import build_stages, workloads
from mentor_kit.utils.gc import frozen_heap

#: Steps at the beginning of a stage that do not count.
WARM_UP = 1


def bench(loaded: LoadedRecipe, registry: Registry, *, steps: int = 3) -> Bench:
    """Measure `steps` steps of every stage that trains and whose workload has its number of steps.

    Raises:
        UsageError: the recipe has no such stage, or `steps` is below 1.
        MentorKitError: a component cannot be built here.
    """
    if steps < 1:
        raise UsageError(f"--steps takes a number of at least 1, not {steps}")
    with closing(assemble_components(loaded, registry)) as components:
        return _measure(loaded, registry, components, steps)


def _measure(loaded: LoadedRecipe, registry: Registry, components: Components, steps: int) -> Bench:
    recipe = loaded.recipe
    stages = build_stages(recipe, registry, components.context)
    works = workloads(recipe, stages)
    counts = {key: work.steps for key, work in works.items() if work.trains and work.steps}
    if not counts:
        unknown = [key for key, work in works.items() if not work.is_known]
        hint = f"the workload of {unknown[0]} is not known" if unknown else "add a stage that trains to its `train`"
        raise UsageError(f"{recipe.name} has no training stage to measure", hint=hint)
    experiment = assemble(loaded, registry, components, works)
    policy = experiment.policy
    limits = policy.limits()
    found = []
    for key, stage in stages:
        if key in counts:
            log = StepLog(policy, key, steps + WARM_UP)
            log.read()
            with frozen_heap(), suppress(MeasuredEnough):
                stage.run(clocked(experiment, log.clock, log.counts), log)
            found.append(stage_bench(log, counts[key], WARM_UP, limits))
    evaluations = evaluation_episodes(recipe.evaluate, [n for key, n in counts.items() if works[key].evaluates])
    return Bench(
        name=recipe.name,
        policy=policy.info,
        limits=limits,
        stages=tuple(found),
        not_measured=tuple(key for key in works if key not in counts),
        evaluations=evaluations,
        evaluation_seconds=evaluation_seconds(found, evaluations),
        peak_memory=_peak_memory(policy),
    )


def _peak_memory(policy: Policy) -> int | None:
    """The peak memory of the device, or else of the process; None where the system does not report it."""
    found = policy.peak_memory()
    if found is not None or sys.platform == "win32":
        return found
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
