"""Finds and describes the components that plugins register, and the recipes that come with mentor-kit."""

from __future__ import annotations

from collections.abc import Mapping

from mentor_kit.core.errors import UsageError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.describing import example, options_of
from mentor_kit.hooks.registry import KINDS, Component, Registry, noun


def find_components(registry: Registry, kind: str | None, name: str | None) -> list[Component]:
    """Return the components that a user names.

    Args:
        registry: the plugins' components.
        kind: a kind; or, without `name`, the name of a component of any kind.
        name: the name of a component of that kind.

    Raises:
        UsageError: there is neither a kind nor a component of that name.
    """
    if name is None:
        wanted, sought = list(KINDS), str(kind)
    elif kind in KINDS:
        wanted, sought = [known for known in KINDS if known == kind], name
    else:
        raise UsageError(
            f"there is no kind {kind!r}{did_you_mean(str(kind), KINDS)}", hint=f"kinds: {', '.join(KINDS)}"
        )
    found = [registry.component(known, sought) for known in wanted if registry.has(known, sought)]
    if not found:
        names = [other for known in wanted for other in registry.components(known)]
        names += shipped_recipes() if "recipes" in wanted else ()
        close = did_you_mean(sought, [*names, *(KINDS if name is None else ())])
        expected = "kind, and no component," if name is None else noun(wanted[0])
        raise UsageError(
            f"there is no {expected} {sought!r}{close}",
            hint=f"kinds: {', '.join(KINDS)}" if name is None else f"`mentorkit plugins {kind}` lists them",
        )
    return found


def summarize(component: Component) -> dict[str, Json]:
    """Return a component's kind, name, plugin, summary, and why it is unavailable, as JSON values."""
    return {
        "kind": component.kind,
        "name": component.name,
        "plugin": component.owner,
        "summary": component.summary,
        "unavailable": component.unavailable(),
    }


def describe(component: Component) -> dict[str, Json]:
    """Return a component's summary with its options and an example line for a recipe, as JSON values."""
    options = [option.as_data() for option in options_of(component.options)]
    return {**summarize(component), "options": options, "example": example(component)}


def shipped_recipes() -> Mapping[str, str]:
    """Return the names and summaries of the recipes that come with mentor-kit."""
    from mentor_kit.recipe.loading import recipe_summaries

    return recipe_summaries()
