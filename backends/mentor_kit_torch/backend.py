"""The torch backend: loads policies, and estimates their memory. PyTorch is imported when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mentor_kit.backend.memory import GIB, MemoryEstimate, MemoryLoad
from mentor_kit.backend.policy import Backend
from mentor_kit.backend.student import StudentSpec
from mentor_kit_torch.launched import launched
from mentor_kit_torch.options import EXPORT_FORMATS, TorchOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mentor_kit.backend.distributed.policy import DistributedPolicy
    from mentor_kit.backend.memory import DeviceMemory, Saving
    from mentor_kit_torch.policy import TorchPolicy


@dataclass(frozen=True)
class TorchBackend(Backend):
    """The backend `torch`."""

    options: TorchOptions

    @property
    def export_formats(self) -> tuple[str, ...]:
        return EXPORT_FORMATS

    def load(self, student: StudentSpec, seed: int) -> TorchPolicy | DistributedPolicy:
        if self.options.processes in (None, 1) and launched() is None:
            from mentor_kit_torch.policy_loading import load_here

            return load_here(student, self.options, seed)
        from mentor_kit_torch.distributed import load_in_all

        return load_in_all(student, self.options, seed)

    def serve(self) -> bool:
        if launched() is None:
            return False
        from mentor_kit_torch.distributed import serve

        return serve(self.options.processes)

    def estimate(self, student: StudentSpec, load: MemoryLoad) -> MemoryEstimate:
        from mentor_kit_torch.loading import model_errors, pick_dtype, planned_device, read_config
        from mentor_kit_torch.memory import allowed_bytes, estimate

        config, options = read_config(student), self.options
        device = planned_device(options.device, config)
        allowed = load.memory if options.memory is None else None
        if allowed is None:
            allowed = allowed_bytes(device, options)
        with model_errors(student):
            dtype = pick_dtype(options.dtype, device, config)
            return estimate(config, student, load, options, dtype, device, allowed)

    def device_memory(self) -> DeviceMemory | None:
        from mentor_kit_torch.loading import planned_device
        from mentor_kit_torch.memory import device_memory

        return device_memory(planned_device(self.options.device))

    def place(self) -> str:
        import torch

        from mentor_kit_torch.loading import planned_device

        if self.options.device == "auto" and not torch.cuda.is_available():
            return "auto"
        device = planned_device(self.options.device)
        return f"cuda:{device.index or 0}" if device.type == "cuda" else "main memory"

    def memory_limit(self) -> int | None:
        return None if self.options.memory is None else int(self.options.memory * GIB)

    def usable_memory(self) -> int | None:
        from mentor_kit_torch.loading import planned_device
        from mentor_kit_torch.memory import usable_bytes

        return usable_bytes(planned_device(self.options.device))

    def held_to(self, memory: int) -> TorchBackend:
        if self.options.shard and (self.options.processes not in (None, 1) or launched() is not None):
            return self  # such a run is held to no limit
        return TorchBackend(self.options.model_copy(update={"memory": memory / GIB}))

    def savings(self, student: StudentSpec, load: MemoryLoad) -> Sequence[Saving]:
        from mentor_kit_torch.loading import model_errors, pick_dtype, planned_device, read_config
        from mentor_kit_torch.memory import savings

        config = read_config(student)
        device = planned_device(self.options.device, config)
        with model_errors(student):
            return savings(config, student, self.options, pick_dtype(self.options.dtype, device, config))
