"""MLX: any language model of mlx-lm, on Apple Silicon or a CPU. Heavy packages are imported when it is built."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from mentor_kit.backend.requirements import Requirements
from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.backend.policy import Backend
    from mentor_kit.hooks import BuildContext, Register
    from mentor_kit_mlx.options import MLXOptions

REQUIREMENTS = Requirements("mlx", ("mlx", "mlx_lm", "transformers"))


@hookimpl
def register_backends(register: Register) -> None:
    """Register the backend `mlx`."""
    from mentor_kit_mlx.options import MLXOptions

    register(
        "mlx",
        options=MLXOptions,
        build=_build,
        summary="any language model of mlx-lm, on Apple Silicon or a CPU",
        available=REQUIREMENTS.missing,
    )


@hookimpl
def doctor_checks() -> Sequence[tuple[str, bool, str]]:
    """The packages, and the device that MLX uses."""
    return REQUIREMENTS.checks(_devices)


def _devices() -> str:
    """Return MLX's version and the device that it uses."""
    import mlx.core as mx

    return f"mlx {version('mlx')}, {mx.default_device()}"


def _build(options: MLXOptions, context: BuildContext) -> Backend:
    from mentor_kit_mlx.backend import MLXBackend

    return MLXBackend(options)
