"""Finds and loads plugins, each in isolation: a broken one never breaks another, or the command line.

A process loads the plugins of its environment once. A test that installs a plugin, or changes the variables below,
either gives `load_plugins` the entry points, or calls `forget_plugins` before and after.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Literal

import pluggy

from mentor_kit.core.errors import did_you_mean
from mentor_kit.hooks import specs
from mentor_kit.hooks.plugins import PluginInfo, Plugins, is_ours

if TYPE_CHECKING:
    from mentor_kit.hooks.registry import Registry

#: The entry-point group of plugins, and the name of the pluggy project.
GROUP = "mentorkit"

#: Comma-separated names: load only these / all but these.
ALLOW, DENY = "MENTORKIT_PLUGINS", "MENTORKIT_DISABLE_PLUGINS"


def load_plugins(points: Iterable[EntryPoint] | None = None) -> Plugins:
    """The plugins of this environment, which a process loads once.

    Those that come with mentor-kit are loaded first, so that no other takes their names; the rest are sorted by name.

    Args:
        points: entry points to load in place of the installed ones; these are loaded anew with every call.
    """
    return _installed() if points is None else _load_all(points)


@cache
def default_registry() -> Registry:
    """The registry of this environment's plugins; the same one for the whole process."""
    from mentor_kit.hooks.registry import Registry  # commands that need no component start without it

    return Registry(load_plugins())


def forget_plugins() -> None:
    """Let the next `load_plugins` and `default_registry` look at the environment anew; for tests."""
    default_registry.cache_clear()
    _installed.cache_clear()


@cache
def _installed() -> Plugins:
    return _load_all(entry_points(group=GROUP))


def _load_all(points: Iterable[EntryPoint]) -> Plugins:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(specs)
    in_order = sorted(points, key=lambda point: (not _is_built_in(point), point.name, point.value))
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
    return point.dist is not None and is_ours(point.dist.name)


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
    known = [name for name in vars(specs) if name.startswith("register_") or name == "doctor_checks"]
    for caller in manager.get_hookcallers(module) or []:
        if not caller.has_spec():
            return f"there is no hook {caller.name!r}{did_you_mean(caller.name, known)}"
    return ""
