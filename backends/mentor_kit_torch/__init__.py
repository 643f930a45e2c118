"""PyTorch: any causal language model of transformers, on CUDA, MPS or CPU. PyTorch is imported when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mentor_kit.backend.requirements import Requirements
from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.backend.policy import Backend
    from mentor_kit.hooks import BuildContext, Register
    from mentor_kit_torch.options import TorchOptions

REQUIREMENTS = Requirements("torch", ("torch", "transformers", "peft", "safetensors"))


@hookimpl
def register_backends(register: Register) -> None:
    """Register the backend `torch`."""
    from mentor_kit_torch.options import TorchOptions

    register(
        "torch",
        options=TorchOptions,
        build=_build,
        summary="any causal language model of transformers, on CUDA, MPS or CPU",
        available=REQUIREMENTS.missing,
    )


@hookimpl
def doctor_checks() -> Sequence[tuple[str, bool, str]]:
    """The packages, and the devices that PyTorch finds."""
    return REQUIREMENTS.checks(_devices)


def _devices() -> str:
    """Return PyTorch's version, its number of threads and the devices that it finds."""
    import torch

    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads, {', '.join(devices)}"


def _build(options: TorchOptions, context: BuildContext) -> Backend:
    from mentor_kit_torch.backend import TorchBackend

    return TorchBackend(options)
