"""The loaded plugins of a process: the pluggy manager, and the state of each entry point."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pluggy

#: The distribution whose plugins are built in.
DISTRIBUTION = "mentor-kit"


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
        return is_ours(self.distribution.partition(" ")[0])


@dataclass(frozen=True)
class Plugins:
    """The plugin manager with every plugin that was loaded, and an entry of `found` for every entry point."""

    manager: pluggy.PluginManager
    found: tuple[PluginInfo, ...]

    @property
    def failed(self) -> tuple[PluginInfo, ...]:
        """The plugins that could not be loaded."""
        return tuple(info for info in self.found if info.state == "failed")


def is_ours(distribution: str) -> bool:
    """Whether a distribution's name is that of mentor-kit."""
    return distribution.replace("_", "-").lower() == DISTRIBUTION
