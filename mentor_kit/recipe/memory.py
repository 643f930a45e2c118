"""The memory that a recipe needs, estimated by its backend from the workloads of its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mentor_kit.backend.memory import MemoryEstimate
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.recipe.assembly import backend_of, student_spec
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.memory_loads import memory_loads
from mentor_kit.recipe.memory_shares import Guest, MemoryShares, set_aside
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
        planned = usable is not None
        usable = usable if planned else backend.usable_memory()
        shares = set_aside(guests, loaded.recipe, works, backend, student, usable, planned=planned)
        usable = shares.left
    estimates = [backend.estimate(student, replace(load, memory=usable)) for load in loads]
    largest = max(estimates, key=lambda estimate: estimate.total)
    unknown = ", ".join(key for key, work in works.items() if not work.is_known)
    notes = [*largest.notes, *shares.notes]
    if unknown:
        notes.append(f"not counted: {unknown}, whose workload is not known")
    if loaded.recipe.sampler is not None:
        notes.append(f"not counted: what the sampler {loaded.recipe.sampler.use!r} needs where it samples")
    parts = largest.parts | ({"other models": shares.total} if shares.total else {})
    return largest.model_copy(update={"parts": parts, "notes": tuple(notes)})
