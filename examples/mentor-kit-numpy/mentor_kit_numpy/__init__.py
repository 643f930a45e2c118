"""A plugin for mentor-kit: the backend `numpy`, over a model small enough to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import Register

MENTORKIT_API = 1


@hookimpl
def register_backends(register: Register) -> None:
    """Offer the backend `numpy`."""
    from mentor_kit_numpy import backend

    register(
        "numpy",
        options=backend.NumpyOptions,
        build=lambda options, context: backend.NumpyBackend(options),
        summary="a tiny recurrent model in NumPy, to learn from",
    )
