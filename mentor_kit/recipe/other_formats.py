"""Formats of students that other backends than the recipe's write."""

from __future__ import annotations

from mentor_kit.backend.policy import Backend
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import MentorKitError, MissingError
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.stages.student import handed_over


def backend_writing(format: str, backend: Backend, registry: Registry, context: BuildContext) -> Backend | None:
    """A backend that writes a format, where the recipe's own does not and can hand its student over.

    Args:
        format: of an export.
        backend: the recipe's.
        registry: the plugins to use.
        context: what backends are built with.

    Returns:
        The first such backend in the order of their names; None where there is none.

    Raises:
        MissingError: there is none, and a package of another backend is missing, which may write it.
    """
    if format in backend.export_formats or handed_over(format) not in backend.export_formats:
        return None
    missing: MissingError | None = None
    for name in sorted(registry.components("backends")):
        try:
            other = registry.build("backends", ComponentSpec(use=name), context, base=Backend)
            if format in other.export_formats and format not in other.quantized_formats:
                found: Backend = other
                return found
        except MissingError as error:
            missing = missing or error
        except MentorKitError:
            # a backend that cannot be built without options writes nothing here
            continue
    if missing is not None:
        raise MissingError(f"no backend here writes {format!r}: {missing.message}", hint=missing.hint)
    return None
