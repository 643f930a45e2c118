"""The memory that a recipe needs, estimated by its backend from the workloads of its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mentor_kit.backend.memory import MemoryEstimate, MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.recipe.assembly import backend_of, student_spec
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.memory_shares import Guest, MemoryShares, set_aside
from mentor_kit.recipe.model import Recipe
from mentor_kit.stages.workload import Workload


def estimate_memory(
    loaded: LoadedRecipe,
    registry: Registry,
    context: BuildContext,
    prompt: int,
    works: Mapping[str, Workload],
    usable: int | None = None,
    guests: Sequence[Guest] = (),
) -> MemoryEstimate | None:
    """The largest estimate over the recipe's stages; no weights are loaded. None where no stage uses the student.

    Args:
        loaded: the recipe.
        registry: the plugins to use.
        context: for building the backend.
        prompt: tokens of the longest prompt.
        works: the workload of each stage by its key.
        usable: bytes of the device that it is planned for; None for this machine's.
        guests: the recipe's other models; what is set aside for those on the student's device is a part of its own.
    """
    loads = memory_loads(loaded.recipe, prompt, works)
    if not loads:
        return None
    student, backend = student_spec(loaded, registry, context), backend_of(loaded.recipe, registry, context)
    shares = MemoryShares()
    if guests:
        usable = backend.usable_memory() if usable is None else usable
        shares = set_aside(guests, loaded.recipe, works, backend, usable)
    own = None if usable is None else max(usable - shares.total, 1)
    loads = [replace(load, memory=own) for load in loads]
    estimates = [backend.estimate(student, load) for load in loads]
    largest = max(estimates, key=lambda estimate: estimate.total)
    unknown = ", ".join(key for key, work in works.items() if not work.is_known)
    notes = [f"not counted: {unknown}, whose workload is not known"] if unknown else []
    if loaded.recipe.sampler is not None:
        notes.append(f"not counted: what the sampler {loaded.recipe.sampler.use!r} needs where it samples")
    parts = largest.parts | ({"other models": shares.total} if shares.total else {})
    notes = [*largest.notes, *([f"set aside: {shares.text()}"] if shares.total else []), *shares.notes, *notes]
    return largest.model_copy(update={"parts": parts, "notes": tuple(notes)})


def memory_loads(recipe: Recipe, prompt: int, works: Mapping[str, Workload]) -> list[MemoryLoad]:
    """The loads that the stages put on a policy, one for each optimizer; empty where no stage uses the student.

    Stages run one after the other, each with its own optimizer; sequences, context and reference are the largest of
    all stages.
    """
    users = [work for work in works.values() if work.student]
    if not users:
        return []
    optimizers: list[OptimizerSpec | None] = [work.optimizer or OptimizerSpec() for work in users if work.trains]
    return [
        MemoryLoad(
            # a sampler has keys and values where it samples
            sequences=0 if recipe.sampler is not None else max(_sequences(recipe, work) for work in users),
            context=prompt + max(work.tokens or recipe.rollout.max_response_tokens for work in users),
            train_tokens=0,
            optimizer=optimizer,
            reference=any(work.reference for work in users),
            prompt=prompt,
        )
        for optimizer in dict.fromkeys(optimizers or [None])
    ]


def _sequences(recipe: Recipe, work: Workload) -> int:
    """The sequences that a stage samples at once, in its steps or its evaluations."""
    ahead = 1 + recipe.rollout.staleness if work.ahead else 1
    return max(work.sequences * ahead, recipe.evaluate.sequences if work.evaluates else 0)
