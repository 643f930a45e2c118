"""Plugins: hook specifications, loading, and the registry of components.

Importing this package is cheap: a plugin's module needs no more than `hookimpl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks.specs import API_VERSION, hookimpl
from mentor_kit.utils.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from mentor_kit.hooks.loader import default_registry, forget_plugins, load_plugins
    from mentor_kit.hooks.plugins import PluginInfo, Plugins
    from mentor_kit.hooks.registry import BuildContext, Component, ComponentError, Register, Registry
    from mentor_kit.hooks.tracker import TrackedRun, Tracker

__all__ = [
    "API_VERSION",
    "BuildContext",
    "Component",
    "ComponentError",
    "PluginInfo",
    "Plugins",
    "Register",
    "Registry",
    "TrackedRun",
    "Tracker",
    "default_registry",
    "forget_plugins",
    "hookimpl",
    "load_plugins",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        **dict.fromkeys(("default_registry", "forget_plugins", "load_plugins"), "mentor_kit.hooks.loader"),
        **dict.fromkeys(("PluginInfo", "Plugins"), "mentor_kit.hooks.plugins"),
        **dict.fromkeys(("TrackedRun", "Tracker"), "mentor_kit.hooks.tracker"),
        **dict.fromkeys(
            ("BuildContext", "Component", "ComponentError", "Register", "Registry"),
            "mentor_kit.hooks.registry",
        ),
    },
)
