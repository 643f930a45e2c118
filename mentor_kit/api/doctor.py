"""Checks this machine: Python, packages, plugins, devices, disk, and what a recipe needs."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mentor_kit.core.posix import posix_missing
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry, noun
from mentor_kit.recipe.checking import all_component_specs, load_checked
from mentor_kit.recipe.loading import RecipeLike
from mentor_kit.utils.version import __version__

#: Without these nothing is trained, and no report has figures.
NEEDED_EXTRAS = ("torch", "report")
#: Extras of developers and of several other extras, which are not checked.
COLLECTIONS = ("dev", "benchmarks", "trackers")
#: Seconds that the import of a plugin may take.
SLOW = 1.0
#: Free bytes that a run needs at least.
FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class MachineCheck:
    """A check of this machine and its result."""

    name: str
    ok: bool
    detail: str


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
    return [MachineCheck(*found) for found in (*_checks(registry), *needs)]


def _checks(registry: Registry) -> Iterator[tuple[str, bool, str]]:
    yield "mentor-kit", True, __version__
    yield "python", sys.version_info >= (3, 11), platform.python_version()
    yield "system", not posix_missing(), posix_missing() or platform.platform()
    yield from _package_checks()
    for info in registry.plugins.failed:
        yield f"plugin {info.name}", False, f"{info.reason} ({info.distribution})"
    for info in registry.plugins.found:
        if info.seconds > SLOW:
            yield f"plugin {info.name}", True, f"slow: its import took {info.seconds:.1f} s, before every command"
    for implementation in registry.plugins.manager.hook.doctor_checks.get_hookimpls():
        try:
            found = list(implementation.function())  # type: ignore[call-overload]
            # which of the backends that come with mentor-kit is there is a matter of what one does
            is_optional = registry.is_built_in(implementation.plugin_name)
            yield from ((name, ok or is_optional, detail) for name, ok, detail in found)
        except Exception as error:  # noqa: BLE001 (a plugin's fault is what this command is for)
            yield f"plugin {implementation.plugin_name}", False, f"its checks failed: {error}"
    free = shutil.disk_usage(Path.cwd()).free
    yield "disk", free > FREE_BYTES, f"{free / (1 << 30):.1f} GiB free in {Path.cwd()}"


def _needs(recipe: RecipeLike, registry: Registry) -> Iterator[tuple[str, bool, str]]:
    """The components of a recipe, with what they lack on this machine."""
    loaded = load_checked(recipe, {}, registry)
    for kind, spec, _ in all_component_specs(loaded.recipe, registry):
        reason = registry.component(kind, spec.use).unavailable()
        yield f"{noun(kind)} {spec.use}", not reason, reason or "can be used here"


def _package_checks() -> Iterator[tuple[str, bool, str]]:
    """The packages of all extras: their versions, and how missing ones are installed.

    Only those that a run or a report needs fail the check when they are missing; the others are optional.
    """
    for package, extra in _packages_of_extras():
        try:
            yield package, True, metadata.version(package)
        except metadata.PackageNotFoundError:
            yield package, extra not in NEEDED_EXTRAS, f"not installed; pip install 'mentor-kit[{extra}]'"


def _packages_of_extras() -> list[tuple[str, str]]:
    """(package, extra) as mentor-kit's own metadata has them, those needed first, without the developers' extras."""
    found = [
        (match["package"], match["extra"])
        for line in metadata.requires("mentor-kit") or ()
        if (match := re.match(r"""(?P<package>[\w.-]+).*extra == ["'](?P<extra>[\w-]+)["']""", line))
    ]
    first: dict[str, str] = {}
    for package, extra in sorted(found, key=lambda item: (item[1] not in NEEDED_EXTRAS, item[1])):
        if extra not in COLLECTIONS:
            first.setdefault(package, extra)
    return list(first.items())
