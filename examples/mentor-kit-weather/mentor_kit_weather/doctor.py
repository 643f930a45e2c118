"""A check for `mentorkit doctor`: whether the folder of temporary files has room for the student."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence

NEEDED = 1 << 24


def weather_checks() -> Sequence[tuple[str, bool, str]]:
    """Return what was checked, whether it is well, and a detail or a command that helps."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    return [("weather", free > NEEDED, f"{free >> 20} MiB free in {folder}")]
