"""Errors of plugins' components in a run, with the component's place in the recipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import MentorKitError
from mentor_kit.hooks.blame import blamed
from mentor_kit.hooks.registry import Component, Registry
from mentor_kit.recipe.checking import all_component_specs
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.source import Path_, located


@contextmanager
def attributed(loaded: LoadedRecipe, registry: Registry) -> Iterator[None]:
    """Turn an unexpected error of a plugin's component into one that names the plugin, the component and its place.

    Raises:
        PluginError: a component of a plugin that is not built in failed; the error it raised is the cause.
    """
    try:
        yield
    except MentorKitError:
        raise
    except (Exception, SystemExit) as error:
        found = blamed(error, registry, lambda component, spec: _place(loaded, registry, component, spec))
        if found is None:
            raise
        raise found from error


def _place(loaded: LoadedRecipe, registry: Registry, component: Component, spec: ComponentSpec) -> str:
    """File, line and column of a component in the recipe, and its path; the reward's for a term that a preset has."""
    known = [
        (found, path) for kind, found, path in all_component_specs(loaded.recipe, registry) if kind == component.kind
    ]
    same = [path for found, path in known if found is spec] or [path for found, path in known if found == spec]
    path: Path_ | None = next(iter(same), ("reward",) if component.kind == "reward_terms" else None)
    return "" if path is None else located(loaded.source.place(path), ".".join(map(str, path)))
