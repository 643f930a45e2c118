"""The result of one check of a machine, and how it names bytes and places."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mentor_kit.core.frozen_model import Json

GIB = 1 << 30


@dataclass(frozen=True)
class MachineCheck:
    """A check of this machine and its result."""

    name: str
    ok: bool
    detail: str
    """For people: what was found; where the check failed, what helps."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """For programs: what was found; bytes as numbers, places as absolute paths. Never a secret."""


def gib(bytes: int) -> str:
    """Bytes as `59.5 GiB`."""
    return f"{bytes / GIB:.1f} GiB"


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk where a folder lies, or would lie once it is made."""
    return shutil.disk_usage(existing(folder)).free


def existing(folder: Path) -> Path:
    """The folder, or the nearest one around it that is there."""
    return next((place for place in (folder, *folder.parents) if place.is_dir()), Path.cwd())


def may_write(folder: Path) -> bool:
    """Whether this user may write into a folder, or make it."""
    return os.access(existing(folder), os.W_OK | os.X_OK)
