"""MLX: any language model of mlx-lm, on Apple Silicon or a CPU. Heavy packages are imported when it is built."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.backend.policy import Backend
    from mentor_kit.hooks import BuildContext, Register
    from mentor_kit_mlx.options import MLXOptions

NEEDED = ("mlx", "mlx_lm", "transformers")
INSTALL = "pip install 'mentor-kit[mlx]'"


@hookimpl
def register_backends(register: Register) -> None:
    """Register the backend `mlx`."""
    from mentor_kit_mlx.options import MLXOptions

    register(
        "mlx",
        options=MLXOptions,
        build=_build,
        summary="any language model of mlx-lm, on Apple Silicon or a CPU",
        available=available,
    )


@hookimpl
def doctor_checks() -> Sequence[tuple[str, bool, str]]:
    """The packages, and the device that MLX uses."""
    if reason := available():
        return [("mlx backend", False, reason)]
    import mlx.core as mx

    return [("mlx backend", True, f"mlx {version('mlx')}, {mx.default_device()}")]


def available() -> str:
    """Why the backend cannot be used here, with the command that installs it; empty where it can."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    return f"{', '.join(missing)} not installed\ninstall: {INSTALL}" if missing else ""


def _build(options: MLXOptions, context: BuildContext) -> Backend:
    from mentor_kit_mlx.backend import MLXBackend

    return MLXBackend(options)
