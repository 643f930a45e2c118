"""What a recipe's stages need and the recipe does not have, by their workloads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from mentor_kit.backend.policy import Backend
from mentor_kit.core.errors import MentorKitError, MissingError, UsageError, did_you_mean
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.recipe.model import Recipe
from mentor_kit.recipe.other_formats import backend_writing
from mentor_kit.recipe.source import Path_
from mentor_kit.recipe.workloads import workloads_or_errors
from mentor_kit.stages.workload import Workload


def need_faults(recipe: Recipe, registry: Registry) -> Iterator[tuple[Path_, str]]:
    """The path and the message of each fault. A stage that cannot be built before the task is has none."""
    context = BuildContext(registry=registry, seed=recipe.seed)
    for index, work in enumerate(workloads_or_errors(recipe, registry, context)):
        place: Path_ = ("train", index, "use")
        if isinstance(work, UsageError):
            yield place, work.message
        elif not isinstance(work, MentorKitError):
            yield from ((place, fault) for fault in _missing_components(recipe, recipe.train[index].use, work))
            yield from _export_faults(recipe, registry, index, work)


def _missing_components(recipe: Recipe, stage: str, work: Workload) -> Iterator[str]:
    if work.reward and recipe.reward is None:
        yield f"the stage `{stage}` needs a reward: add `reward: {{use: mentor}}`"
    if work.demonstrations and recipe.teacher is None:
        yield f"the stage `{stage}` needs demonstrations, and there is no teacher: add `teacher: {{use: scripted}}`"
    if work.teacher and recipe.teacher is None:
        yield (
            f"the stage `{stage}` needs a teacher to distil from, and there is none: "
            "add `teacher: {use: local, with: {model: …}}` to its options"
        )


def _export_faults(recipe: Recipe, registry: Registry, index: int, work: Workload) -> Iterator[tuple[Path_, str]]:
    """Formats that the backend does not write; those of a backend that is not installed are not known."""
    if not work.exports:
        return
    known: tuple[str, ...] | None = None
    context = BuildContext(registry, recipe.seed)
    with suppress(MissingError):
        backend: Backend = registry.build("backends", recipe.backend, context, base=Backend)
        known = backend.export_formats
    for option, wanted in work.exports.items():
        place: Path_ = ("train", index, "with", option)
        if known is not None and wanted not in known and not _is_written_elsewhere(wanted, backend, registry, context):
            close = did_you_mean(wanted, known)
            yield (
                place,
                f"the backend {recipe.backend.use!r} does not export {wanted!r}{close}; its formats are: "
                f"{', '.join(known)}",
            )
        elif wanted.endswith("adapter") and recipe.student.adapter is None:
            yield place, f"{wanted!r} needs an adapter: add `adapter: lora` to the student"


def _is_written_elsewhere(format: str, backend: Backend, registry: Registry, context: BuildContext) -> bool:
    """Whether another backend writes a format; one whose package is missing is not asked, and may."""
    try:
        return backend_writing(format, backend, registry, context) is not None
    except MissingError:
        return False
