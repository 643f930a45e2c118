"""The data formats of all plugins, in the order in which a row's format is looked for."""

from __future__ import annotations

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.data_format import DataFormat
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import BuildContext, Registry


def data_formats(registry: Registry | None = None) -> dict[str, DataFormat]:
    """All formats by name: those of other plugins first, then the built-in ones, each in the order of its plugin.

    Args:
        registry: the plugins to ask; those of this environment if left out.

    Raises:
        PluginError: a plugin builds something else than a `DataFormat`, or two plugins have one of the same name.
    """
    registry = registry or default_registry()
    ordered = sorted(registry.in_order("formats"), key=lambda component: registry.is_built_in(component.owner))
    context = BuildContext(registry)
    return {one.name: registry.build("formats", ComponentSpec(use=one.name), context) for one in ordered}
