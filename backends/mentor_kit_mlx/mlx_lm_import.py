"""mlx-lm, imported without its side effect: it lowers the process's limit of open files."""

from __future__ import annotations

import resource
from importlib import import_module
from typing import Any


def mlx_lm(module: str) -> Any:
    """The module `mlx_lm.<module>`, with the limit of open files left as it was."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return import_module(f"mlx_lm.{module}")
    finally:
        _restore(limits)


def _restore(limits: tuple[int, int]) -> None:
    _, now = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    except ValueError:  # only root may raise the hard limit again
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[0], now), now))
