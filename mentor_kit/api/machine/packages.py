"""The packages of mentor-kit's extras: their versions, and how missing ones are installed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from importlib import metadata

from mentor_kit.api.machine.check import MachineCheck

#: Extras of developers, which are not checked.
DEVELOPERS_EXTRAS = ("dev", "docs", "benchmarks", "mlx-benchmarks")


def package_checks(backends: Collection[str]) -> Iterator[MachineCheck]:
    """The checks of the packages of all extras but those of developers.

    A package that is not there fails its check where its backend is installed otherwise: the others belong to what
    only some recipes need.

    Args:
        backends: the extras that install a backend, each named as its main package.
    """
    for package, extra in _packages_of_extras(backends):
        version = _version(package)
        if version:
            yield MachineCheck(package, True, version, {"version": version, "extra": extra})
            continue
        optional = extra not in backends or not _version(extra)
        needed = " (only some recipes need it)" if optional else ""
        detail = f"not installed{needed}; pip install 'mentor-kit[{extra}]'"
        yield MachineCheck(package, optional, detail, {"version": None, "extra": extra})


def _version(package: str) -> str:
    """The version that is installed; empty where none is."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _packages_of_extras(first: Collection[str]) -> list[tuple[str, str]]:
    """(package, extra) as mentor-kit's own metadata has them, those of the first extras first."""
    found = [
        (match["package"], match["extra"])
        for line in metadata.requires("mentor-kit") or ()
        if (match := re.match(r"""(?P<package>[\w.-]+).*extra == ["'](?P<extra>[\w-]+)["']""", line))
    ]
    extras: dict[str, str] = {}
    for package, extra in sorted(found, key=lambda item: (item[1] not in first, item[1])):
        # an extra may consist of other extras
        if extra not in DEVELOPERS_EXTRAS and package != "mentor-kit":
            # one that several need belongs to the extra that is named for it
            extras[package] = package if package == extra else extras.get(package, extra)
    return list(extras.items())
