"""Tools that run outside the trainer: any module's functions, in worker processes with limits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import Register


@hookimpl
def register_tools(register: Register) -> None:
    """`python`."""
    from mentor_kit_tools import functions

    register(
        "python",
        options=functions.PythonOptions,
        build=functions.build,
        summary="the typed functions of a Python module, in worker processes with limits",
        available=isolation_missing,
    )


def isolation_missing() -> str:
    """Why tools cannot be isolated here; empty if they can."""
    if sys.platform == "win32":
        return "isolated tools need process limits of POSIX\nuse Linux (WSL too) or macOS"
    return ""
