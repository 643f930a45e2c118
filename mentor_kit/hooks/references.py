"""Checks of packages, files, folders and models, for components' `available` and `look`.

Each returns the fault as a message, or an empty string where all is well. Nothing is read, imported or downloaded.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mentor_kit.core.errors import did_you_mean

if TYPE_CHECKING:
    from mentor_kit.hooks.registry import Registry

RELATIVE = "paths are relative to the recipe's folder, or to its `folder`: --set folder=FOLDER"


def missing_package(package: str, extra: str) -> str:
    """Why a component that needs a package cannot be used here, for its `available`; empty if it can.

    Args:
        package: the name that it is imported by.
        extra: mentor-kit's extra that installs it.
    """
    spec = find_spec(package)
    # a folder of that name in the working folder, such as `wandb` or `datasets`, is no package
    if spec is not None and spec.origin is not None:
        return ""
    return f"the package {package} is not installed\npip install 'mentor-kit[{extra}]'"


def file_fault(name: str | Path, folder: Path) -> str:
    """Why a file cannot be read.

    Args:
        name: what the recipe names; `~` is the user's home.
        folder: the recipe's folder, which the name is relative to.
    """
    path = folder / Path(name).expanduser()
    if path.is_dir():
        return f"{path} is a folder; expected a file"
    return path_fault(name, folder) or ("" if os.access(path, os.R_OK) else f"{path} may not be read")


def path_fault(name: str | Path, folder: Path) -> str:
    """Why there is neither a file nor a folder of that name; arguments as for `file_fault`."""
    path = folder / Path(name).expanduser()
    if path.exists():
        return ""
    around = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"there is no {path}{did_you_mean(path.name, around)}; {RELATIVE}"


def model_fault(name: str, folder: Path, registry: Registry) -> str:
    """Why a model can be neither a registered student, nor a folder with a model, nor a hub id (the hub is not asked).

    Args:
        name: what the recipe names.
        folder: the recipe's folder, which a folder's name is relative to.
        registry: the plugins, whose students have names.
    """
    if registry.has("students", name):
        return ""
    students = registry.components("students")
    for place in (folder / Path(name).expanduser(), Path(name).expanduser()):
        if place.is_dir():
            return "" if (place / "config.json").is_file() else f"{place} has no model: there is no config.json in it"
        if place.is_file():
            return f"{place} is a file; expected a folder in transformers' format"
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return ""
    return (
        f"there is no student, and no folder, {name!r}{did_you_mean(name, students)}; expected a folder with a model "
        f"in transformers' format, a hub id (owner/name), or one of: {', '.join(students)}"
    )
