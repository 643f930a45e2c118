"""Finds and loads plugins, each in isolation: a broken one never breaks another, or the command line."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Literal

import pluggy

from mentor_kit.core.errors import did_you_mean
from mentor_kit.hooks import specs

GROUP = "mentorkit"
DISTRIBUTION = "mentor-kit"

#: Comma-separated names: load only these / all but these.
ALLOW, DENY = "MENTORKIT_PLUGINS", "MENTORKIT_DISABLE_PLUGINS"


@dataclass(frozen=True)
class PluginInfo:
    """What became of one entry point."""

    name: str
    target: str
    """The module it names."""
    distribution: str
    """The installed package it comes from, with its version."""
    state: Literal["loaded", "disabled", "failed"]
    reason: str = ""
    seconds: float = field(default=0.0, compare=False)
    """How long its module took to be imported."""

    @property
    def is_built_in(self) -> bool:
        """Whether it comes with mentor-kit itself."""
        return _is_ours(self.distribution.partition(" ")[0])


@dataclass(frozen=True)
class Plugins:
    """The plugin manager with every plugin that loaded, and the fate of every entry point."""

    manager: pluggy.PluginManager
    found: tuple[PluginInfo, ...]

    @property
    def failed(self) -> tuple[PluginInfo, ...]:
        """The plugins that could not be loaded."""
        return tuple(info for info in self.found if info.state == "failed")


def load_plugins(points: Iterable[EntryPoint] | None = None) -> Plugins:
    """Load the plugins of this environment; `points` replaces the installed entry points.

    Those that come with mentor-kit are first, so that nobody takes their names; the others are sorted by name.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(specs)
    chosen = entry_points(group=GROUP) if points is None else points
    in_order = sorted(chosen, key=lambda point: (not _is_built_in(point), point.name, point.value))
    found: list[PluginInfo] = []
    for point in in_order:
        found.append(_load(manager, point, {info.name for info in found}))
    return Plugins(manager, tuple(found))


def _load(manager: pluggy.PluginManager, point: EntryPoint, taken: set[str]) -> PluginInfo:
    origin = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "unknown"
    name, note = point.name, ""
    if name in taken and not _is_built_in(point):
        # its package's name, which nobody else can have, says whose it is
        name = origin.partition(" ")[0]
        note = f"its entry point {point.name!r} is called like another plugin's; here it is {name!r}"

    def fate(state: Literal["loaded", "disabled", "failed"], reason: str = "", seconds: float = 0.0) -> PluginInfo:
        return PluginInfo(name, point.value, origin, state, reason, seconds)

    if reason := _disabled(name):
        return fate("disabled", reason)
    if name in taken:
        return fate("failed", f"another plugin is called {name!r} already")
    began = time.perf_counter()
    try:
        module = point.load()
        if reason := _unfit(module):
            return fate("failed", reason)
        if manager.is_registered(module):
            return fate("failed", f"its module {point.value!r} is loaded already, as another plugin")
        manager.register(module, name=name)
        manager.get_hookcallers(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 (a plugin may even call sys.exit at import)
        return fate("failed", f"{type(error).__name__}: {error}", time.perf_counter() - began)
    if reason := _misspelt_hooks(manager, module):
        manager.unregister(module)
        return fate("failed", reason)
    return fate("loaded", note, time.perf_counter() - began)


def _is_built_in(point: EntryPoint) -> bool:
    return point.dist is not None and _is_ours(point.dist.name)


def _is_ours(distribution: str) -> bool:
    return distribution.replace("_", "-").lower() == DISTRIBUTION


def _disabled(name: str) -> str:
    if name in _names(DENY):
        return f"named in {DENY}"
    allowed = _names(ALLOW)
    return f"not named in {ALLOW}" if allowed and name not in allowed else ""


def _names(variable: str) -> set[str]:
    return {name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()}


def _unfit(module: object) -> str:
    wanted = getattr(module, "MENTORKIT_API", specs.API_VERSION)
    if wanted == specs.API_VERSION:
        return ""
    return f"written for version {wanted!r} of the plugin hooks, this mentor-kit has version {specs.API_VERSION}"


def _misspelt_hooks(manager: pluggy.PluginManager, module: object) -> str:
    known = [name for name in vars(specs) if name.startswith(("register_", "on_")) or name == "doctor_checks"]
    for caller in manager.get_hookcallers(module) or []:
        if not caller.has_spec():
            return f"there is no hook {caller.name!r}{did_you_mean(caller.name, known)}"
    return ""
