"""Plugins: the hooks they implement, how they are found, and what they offer.

Importing this package is cheap: a plugin's module needs no more than `hookimpl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks.specs import API_VERSION, hookimpl
from mentor_kit.utils.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from mentor_kit.hooks.loader import PluginInfo, Plugins, load_plugins
    from mentor_kit.hooks.registry import BuildContext, Component, ComponentError, Register, Registry, default_registry

__all__ = [
    "API_VERSION",
    "BuildContext",
    "Component",
    "ComponentError",
    "PluginInfo",
    "Plugins",
    "Register",
    "Registry",
    "default_registry",
    "hookimpl",
    "load_plugins",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        **dict.fromkeys(("PluginInfo", "Plugins", "load_plugins"), "mentor_kit.hooks.loader"),
        **dict.fromkeys(
            ("BuildContext", "Component", "Register", "Registry", "ComponentError", "default_registry"),
            "mentor_kit.hooks.registry",
        ),
    },
)
