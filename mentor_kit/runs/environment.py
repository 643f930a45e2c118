"""The environment of a run: versions, platform, processor, commit; never environment variables or host names."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from mentor_kit.core.frozen_model import Json
from mentor_kit.utils.machine import cpu_name

#: Packages whose versions can change a run's result.
PACKAGES = (
    "mentor-kit",
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "safetensors",
    "accelerate",
    "mlx",
    "mlx-lm",
    "numpy",
    "pydantic",
    "jsonschema",
    "pluggy",
)


def environment(folder: Path | None = None) -> dict[str, Json]:
    """The environment of this process, found without importing any of the packages.

    Args:
        folder: where to look for a git commit; the current folder if left out.
    """
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "packages": _versions(),
        "git": _git(folder or Path.cwd()),
    }


def _versions() -> dict[str, str]:
    plugins = {point.dist.name for point in entry_points(group="mentorkit") if point.dist is not None}
    found = {}
    for name in sorted({*PACKAGES, *plugins}):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git(folder: Path) -> dict[str, Json] | None:
    commit = _ask_git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    return {"commit": commit, "changed": bool(_ask_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _ask_git(folder: Path, *arguments: str) -> str:
    try:
        asked = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=5, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""
