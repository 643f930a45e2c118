"""Plugins: the hooks they implement, how they are found, and what they offer.

Importing this package is cheap: a plugin's module needs no more than `hookimpl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mentor_kit.hooks.specs import API_VERSION, hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks.loader import PluginInfo, Plugins, load_plugins
    from mentor_kit.hooks.registry import BuildContext, Part, Register, Registry, SlotError, default_registry

__all__ = [
    "API_VERSION",
    "BuildContext",
    "Part",
    "PluginInfo",
    "Plugins",
    "Register",
    "Registry",
    "SlotError",
    "default_registry",
    "hookimpl",
    "load_plugins",
]

_LOADER = {"PluginInfo", "Plugins", "load_plugins"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"mentor_kit.hooks.{'loader' if name in _LOADER else 'registry'}")
    return getattr(module, name)
