"""Plugins: the hooks they implement, how they are found, and what they offer.

Importing this package is cheap: a plugin's module needs no more than `hookimpl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks.specs import API_VERSION, hookimpl
from mentor_kit.lazy import lazily

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

__getattr__ = lazily(
    __name__,
    {
        **dict.fromkeys(("PluginInfo", "Plugins", "load_plugins"), "mentor_kit.hooks.loader"),
        **dict.fromkeys(
            ("BuildContext", "Part", "Register", "Registry", "SlotError", "default_registry"),
            "mentor_kit.hooks.registry",
        ),
    },
)
