"""GPUs that a run can be planned for without being there: their memory and what they do at best, by their makers."""

from __future__ import annotations

from dataclasses import dataclass

from mentor_kit.backend.memory import GIB, DeviceMemory
from mentor_kit.core.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class GpuModel:
    """A GPU; rates are those of its data sheet, dense and in bfloat16 with sums in float32."""

    name: str
    gib: int
    flops: float
    """Floating-point operations a second, in matrix products."""
    bandwidth: float
    """Bytes a second of its memory."""
    link: float
    """Bytes a second to another GPU of the machine, one way: NVLink where it has it, else PCIe."""

    @property
    def memory(self) -> DeviceMemory:
        """Its memory; nine tenths of it are for a run."""
        return DeviceMemory.of(self.name, self.gib * GIB)


_TERA, _GIGA = 1e12, 1e9
GPU_MODELS = {
    "rtx-3090": GpuModel("RTX 3090", 24, 71 * _TERA, 936 * _GIGA, 25 * _GIGA),
    "rtx-4090": GpuModel("RTX 4090", 24, 165 * _TERA, 1008 * _GIGA, 25 * _GIGA),
    "l4": GpuModel("L4", 24, 121 * _TERA, 300 * _GIGA, 25 * _GIGA),
    "l40s": GpuModel("L40S", 48, 362 * _TERA, 864 * _GIGA, 25 * _GIGA),
    "a100": GpuModel("A100 80 GB", 80, 312 * _TERA, 2039 * _GIGA, 300 * _GIGA),
    "h100": GpuModel("H100 80 GB", 80, 989 * _TERA, 3350 * _GIGA, 450 * _GIGA),
    "h200": GpuModel("H200", 141, 989 * _TERA, 4800 * _GIGA, 450 * _GIGA),
}


def gpu_model(name: str) -> GpuModel:
    """A GPU by its name.

    Raises:
        UsageError: it is not known.
    """
    found = GPU_MODELS.get(name.lower().replace(" ", "-").replace("_", "-"))
    if found is None:
        raise UsageError(
            f"no GPU is called {name!r}{did_you_mean(name, GPU_MODELS)}",
            hint=f"known are {', '.join(GPU_MODELS)}; `--memory GIB` plans for any other",
        )
    return found
