"""Paths in files that are kept or sent elsewhere, which do not say where the user's home is."""

from __future__ import annotations

import os
import re
from pathlib import Path


def portable_path(path: Path, start: Path) -> str:
    """A path as a string in which the user's home is not named.

    It is relative to `start` where the two have a folder in common that is no folder around the home, so that both can
    be moved together; else it begins with `~` where it is in the home, and is absolute where it is not.

    Args:
        path: any path.
        start: the folder that a relative path is relative to.
    """
    path, start = path.resolve(), start.resolve()
    common, home = Path(os.path.commonpath([path, start])), _home()
    above_home = home is not None and home != common and home.is_relative_to(common)
    if common != Path(common.anchor) and not above_home:
        return Path(os.path.relpath(path, start)).as_posix()
    return tilde_path(path)


def tilde_path(path: Path) -> str:
    """An absolute path as a string, with `~` for the user's home."""
    home = _home()
    for found in (path, path.resolve()):
        if home is not None and found.is_relative_to(home):
            return (Path("~") / found.relative_to(home)).as_posix()
    return str(path)


def without_home(text: str) -> str:
    """A text, such as a file's content, with `~` for the user's home wherever a path in it begins there."""
    home = _home()
    if home is None:
        return text
    for found in {str(home), str(Path.home())}:
        text = re.sub(rf"(?<![\w~-])(?:(?:\.\./)+|/){re.escape(found.lstrip('/'))}(?![\w-])", "~", text)
    return text


def expanded_path(path: str | Path) -> Path:
    """The path with the user's home for a `~` at its beginning; as it is where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _home() -> Path | None:
    """The user's home; None where there is none, or it is the root of everything."""
    try:
        home = Path.home().resolve()
    except RuntimeError:
        return None
    return None if home == Path(home.anchor) else home
