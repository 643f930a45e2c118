"""Checks what a recipe refers to on this machine: its student's files, and what its components refer to."""

from __future__ import annotations

from mentor_kit.core.component import ComponentSpec, Kind
from mentor_kit.core.errors import MentorKitError, MissingError
from mentor_kit.hooks.references import file_fault, model_fault, path_fault
from mentor_kit.hooks.registry import BuildContext, ComponentError, Registry
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.source import Path_
from mentor_kit.recipe.workloads import workloads_if_known

#: Marks of a chat template that is given as a string, not by name.
_TEMPLATE_MARKS = ("{%", "{{")


def student_faults(loaded: LoadedRecipe, registry: Registry) -> list[tuple[Path_, str]]:
    """Return what the recipe names for its student and this machine lacks; nothing where no stage uses the student."""
    student, folder = loaded.recipe.student, loaded.folder
    looks: dict[Path_, str] = {("model",): model_fault(student.model, folder, registry)}
    if student.checkpoint is not None:
        looks["checkpoint",] = path_fault(student.checkpoint, folder)
    if student.adapter is not None and student.adapter.options.path is not None:
        looks["adapter", "with", "path"] = path_fault(student.adapter.options.path, folder)
    template = student.chat_template
    if template is not None and not template.isidentifier() and not any(mark in template for mark in _TEMPLATE_MARKS):
        looks["chat_template",] = file_fault(template, folder)
    found = [(("student", *place), fault) for place, fault in looks.items() if fault]
    return found if found and _uses_student(loaded, registry) else []


def _uses_student(loaded: LoadedRecipe, registry: Registry) -> bool:
    """Return whether a stage uses the student: a recipe that only collects may name one that is not on this machine."""
    context = BuildContext(registry=registry, seed=loaded.recipe.seed, recipe_folder=loaded.folder)
    return any(work.student for work in workloads_if_known(loaded.recipe, registry, context))


def component_faults(
    loaded: LoadedRecipe, registry: Registry, kind: Kind, spec: ComponentSpec
) -> list[tuple[Path_, str]]:
    """Return what a component's `look` finds, by places in its spec; nothing where its options are invalid already."""
    context = BuildContext(registry=registry, seed=loaded.recipe.seed, recipe_folder=loaded.folder)
    try:
        registry.check(kind, spec)
    except MentorKitError:
        return []
    try:
        registry.look(kind, spec, context)
    except ComponentError as error:
        return error.faults
    except MissingError:
        return []  # a package that is not installed is an error of its own, with a code of its own, when it is needed
    except MentorKitError as error:
        return [(("use",), str(error).replace("\n", "; "))]
    return []
