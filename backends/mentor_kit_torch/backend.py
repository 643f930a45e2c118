"""The torch backend: loads policies, and estimates their memory. PyTorch is imported when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mentor_kit.backend.memory import MemoryEstimate, MemoryLoad
from mentor_kit.backend.policy import Backend
from mentor_kit.backend.student import StudentSpec
from mentor_kit_torch.options import EXPORT_FORMATS, TorchOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mentor_kit.backend.memory import DeviceMemory, Saving
    from mentor_kit_torch.policy import TorchPolicy


@dataclass(frozen=True)
class TorchBackend(Backend):
    """The backend `torch`."""

    options: TorchOptions

    @property
    def export_formats(self) -> tuple[str, ...]:
        return EXPORT_FORMATS

    def load(self, student: StudentSpec, seed: int) -> TorchPolicy:
        import torch

        from mentor_kit_torch.adapters import add_adapter
        from mentor_kit_torch.cpu_weight_layout import ask_for_large_pages
        from mentor_kit_torch.loading import (
            load_model,
            make_deterministic,
            model_errors,
            pick_device,
            pick_dtype,
            read_config,
        )
        from mentor_kit_torch.policy import TorchPolicy

        options = self.options
        ask_for_large_pages()
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        config = read_config(student)
        device = pick_device(options.device, config)
        make_deterministic(device)
        with model_errors(student):
            model: Any = load_model(student, config, options, device, pick_dtype(options.dtype, device, config))
            if student.adapter is not None:
                model = add_adapter(model, student.adapter, seed)
            torch.manual_seed(seed)
            return TorchPolicy(model, student, options)

    def estimate(self, student: StudentSpec, load: MemoryLoad) -> MemoryEstimate:
        from mentor_kit_torch.loading import model_errors, pick_device, pick_dtype, read_config
        from mentor_kit_torch.memory import estimate

        config = read_config(student)
        device = pick_device(self.options.device, config)
        with model_errors(student):
            return estimate(config, student, load, self.options, pick_dtype(self.options.dtype, device, config))

    def device_memory(self) -> DeviceMemory | None:
        from mentor_kit_torch.loading import pick_device
        from mentor_kit_torch.memory import device_memory

        return device_memory(pick_device(self.options.device))

    def savings(self, student: StudentSpec, load: MemoryLoad) -> Sequence[Saving]:
        from mentor_kit_torch.loading import model_errors, pick_device, pick_dtype, read_config
        from mentor_kit_torch.memory import savings

        config = read_config(student)
        device = pick_device(self.options.device, config)
        with model_errors(student):
            return savings(config, student, load, self.options, pick_dtype(self.options.dtype, device, config))
