"""Checks this machine: Python, packages, plugins, processors, the hub, disk, and what a recipe needs.

A machine is well where a backend can be used and nothing that is installed is broken. What only some recipes need may
be missing: a backend beside another, a package of an extra.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from mentor_kit.api.machine.check import MachineCheck, free_bytes, gib
from mentor_kit.api.machine.hub import hub_checks
from mentor_kit.api.machine.packages import package_checks
from mentor_kit.api.machine.processors import processor_checks
from mentor_kit.core.posix import posix_missing
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry, noun
from mentor_kit.recipe.checking import all_component_specs, load_checked
from mentor_kit.recipe.loading import RecipeLike
from mentor_kit.utils.version import __version__

#: Seconds that the import of a plugin may take.
SLOW = 1.0
#: Free bytes that a run needs at least.
FREE_BYTES = 1 << 30


def check_machine(recipe: RecipeLike | None = None, *, registry: Registry | None = None) -> list[MachineCheck]:
    """Check this machine, and what the components of a recipe lack on it.

    Args:
        recipe: as for `run`; the machine alone is checked if left out.
        registry: as for `run`.

    Raises:
        RecipeError: the recipe is wrong.
    """
    registry = registry or default_registry()
    needs = [] if recipe is None else list(_needs(recipe, registry))
    return [*_checks(registry), *needs]


def _checks(registry: Registry) -> Iterator[MachineCheck]:
    yield MachineCheck("mentor-kit", True, __version__, {"version": __version__})
    version = platform.python_version()
    yield MachineCheck("python", sys.version_info >= (3, 11), version, {"version": version})
    yield MachineCheck("system", not posix_missing(), posix_missing() or platform.platform())
    missing = {name: each.unavailable() for name, each in registry.components("backends").items()}
    yield from package_checks(missing)
    for info in registry.plugins.failed:
        yield MachineCheck(f"plugin {info.name}", False, f"{info.reason} ({info.distribution})")
    for info in registry.plugins.found:
        if info.seconds > SLOW:
            detail = f"slow: its import took {info.seconds:.1f} s, before every command"
            yield MachineCheck(f"plugin {info.name}", True, detail)
    usable = [name for name, reason in missing.items() if not reason]
    # which backend is there is a matter of what one does, as long as one is
    spared = {f"{name} backend" for name, reason in missing.items() if reason and usable}
    for check in _plugin_checks(registry):
        yield MachineCheck(check.name, check.ok or check.name in spared, check.detail)
    if not usable:
        hint = "pip install 'mentor-kit[torch]', or on a Mac 'mentor-kit[mlx]'"
        yield MachineCheck("backends", False, f"none can be used, so nothing is sampled or trained; {hint}")
    yield from processor_checks()
    yield from hub_checks(os.environ)
    folder = Path.cwd()
    free = free_bytes(folder)
    facts = {"path": str(folder), "free_bytes": free}
    yield MachineCheck("disk", free > FREE_BYTES, f"{gib(free)} free in {folder}", facts)


def _plugin_checks(registry: Registry) -> Iterator[MachineCheck]:
    """The checks that plugins make of what is theirs."""
    for implementation in registry.plugins.manager.hook.doctor_checks.get_hookimpls():
        try:
            found = list(implementation.function())  # type: ignore[call-overload]
            yield from (MachineCheck(name, ok, detail) for name, ok, detail in found)
        except Exception as error:  # noqa: BLE001 (a plugin's fault is what this command is for)
            yield MachineCheck(f"plugin {implementation.plugin_name}", False, f"its checks failed: {error}")


def _needs(recipe: RecipeLike, registry: Registry) -> Iterator[MachineCheck]:
    """The components of a recipe, with what they lack on this machine."""
    loaded = load_checked(recipe, {}, registry)
    for kind, spec, _ in all_component_specs(loaded.recipe, registry):
        reason = registry.component(kind, spec.use).unavailable()
        yield MachineCheck(f"{noun(kind)} {spec.use}", not reason, reason or "can be used here")
