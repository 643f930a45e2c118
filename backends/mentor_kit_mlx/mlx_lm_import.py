"""mlx-lm, imported without its side effect: it sets the process's limit of open files, often to a lower one."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mentor_kit.utils.quiet_imports import import_transformers


def mlx_lm(module: str) -> Any:
    """The module `mlx_lm.<module>`, with a limit of open files that is not lower than it was.

    Where the limit was lower than the one that mlx-lm sets, as in macOS's terminal (256), mlx-lm's own one stays: a
    model in many files needs it.
    """
    import resource  # a system without it has no mlx-lm either

    import_transformers()  # mlx-lm's own import of it prints
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return import_module(f"mlx_lm.{module}")
    finally:
        soft, now = resource.getrlimit(resource.RLIMIT_NOFILE)
        soft = soft if before[0] != resource.RLIM_INFINITY and before[0] < soft else before[0]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
        except ValueError:  # only root may raise the hard limit again
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft if 0 <= soft < now else now, now))
