"""PyTorch: any causal language model of transformers, on CUDA, MPS or CPU. PyTorch is imported when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.backend.policy import Backend
    from mentor_kit.hooks import BuildContext, Register
    from mentor_kit_torch.options import TorchOptions

NEEDED = ("torch", "transformers", "peft", "safetensors")
INSTALL = "pip install 'mentor-kit[torch]'"


@hookimpl
def register_backends(register: Register) -> None:
    """Register the backend `torch`."""
    from mentor_kit_torch.options import TorchOptions

    register(
        "torch",
        options=TorchOptions,
        build=_build,
        summary="any causal language model of transformers, on CUDA, MPS or CPU",
        available=available,
    )


@hookimpl
def doctor_checks() -> Sequence[tuple[str, bool, str]]:
    """The packages, and the devices that PyTorch finds."""
    if reason := available():
        return [("torch backend", False, reason)]
    import torch

    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [
        ("torch backend", True, f"torch {torch.__version__}, {torch.get_num_threads()} threads, {', '.join(devices)}")
    ]


def available() -> str:
    """Why the backend cannot be used here, with the command that installs it; empty where it can."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    return f"{', '.join(missing)} not installed\ninstall: {INSTALL}" if missing else ""


def _build(options: TorchOptions, context: BuildContext) -> Backend:
    from mentor_kit_torch.backend import TorchBackend

    return TorchBackend(options)
