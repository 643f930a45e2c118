"""PyTorch: any causal language model of transformers, on CUDA, MPS or CPU. PyTorch is imported when it is used."""

from __future__ import annotations

import os
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
    from mentor_kit_torch.thread_waits import wait_briefly

    wait_briefly()
    register(
        "torch",
        options=TorchOptions,
        build=_build,
        summary="any causal language model of transformers, on CUDA, MPS or CPU",
        available=REQUIREMENTS.missing,
    )


@hookimpl
def doctor_checks() -> Sequence[tuple[str, bool, str]]:
    """The packages, the devices that PyTorch finds, and NVIDIA's GPUs that it does not."""
    checks = REQUIREMENTS.checks(_devices)
    if not REQUIREMENTS.missing() and (unused := _unused_gpus()):
        checks.append(("torch devices", False, unused))
    return checks


def _devices() -> str:
    """Return PyTorch's version, its number of threads and the devices that it finds."""
    import torch

    devices = ["cpu"]
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        devices.append(f"{found.name} ({found.total_memory / (1 << 30):.1f} GiB)")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return f"torch {torch.__version__}{_toolkit()}, {torch.get_num_threads()} threads, {', '.join(devices)}"


def _toolkit() -> str:
    """The toolkit for GPUs that PyTorch is built with, in brackets; empty where it is none."""
    import torch

    if torch.version.cuda:
        return f" (CUDA {torch.version.cuda})"
    return f" (ROCm {torch.version.hip})" if torch.version.hip else ""


def _unused_gpus() -> str:
    """Why PyTorch cannot use the NVIDIA GPUs of this machine; empty where it can, and where none is there or wanted."""
    import torch

    from mentor_kit.utils.gpus import DriverError, nvidia_gpus

    if torch.cuda.is_available() or "CUDA_VISIBLE_DEVICES" in os.environ:
        return ""
    try:
        gpus = nvidia_gpus()
    except DriverError:  # the machine's own checks have it
        return ""
    if not gpus:
        return ""
    if not torch.version.cuda:
        return f"PyTorch {torch.__version__} is built for CPUs and uses no GPU; https://pytorch.org has one with CUDA"
    newest = f", whose newest CUDA is {gpus[0].cuda}" if gpus[0].cuda else ""
    return (
        f"PyTorch {torch.__version__} for CUDA {torch.version.cuda} finds no GPU with driver {gpus[0].driver}{newest}"
    )


def _build(options: TorchOptions, context: BuildContext) -> Backend:
    from mentor_kit_torch.backend import TorchBackend

    return TorchBackend(options)
