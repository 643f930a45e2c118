"""The machine's processors and their memory: CPU, NVIDIA's GPUs, Apple's."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator

from mentor_kit.api.machine.check import MachineCheck, gib
from mentor_kit.backend.memory import main_memory
from mentor_kit.core.frozen_model import Json
from mentor_kit.utils.gpus import DriverError, NvidiaGpu, nvidia_gpus
from mentor_kit.utils.machine import cpu_name, sysctl

#: The oldest macOS that PyTorch and MLX have packages for.
OLDEST_MACOS = 14


def processor_checks() -> Iterator[MachineCheck]:
    """The checks of the CPU with the main memory, and of the GPUs."""
    yield _cpu()
    if sys.platform == "darwin":
        yield from _apple()
        return
    try:
        for index, gpu in enumerate(nvidia_gpus()):
            yield _nvidia(index, gpu)
    except DriverError as error:
        yield MachineCheck("GPU", False, f"NVIDIA's driver does not work: {error}", {"error": str(error)})


def _cpu() -> MachineCheck:
    name, cores, memory = cpu_name(), os.cpu_count(), main_memory()
    facts: dict[str, Json] = {"name": name, "cores": cores, "memory_bytes": None if memory is None else memory.bytes}
    return MachineCheck("CPU", True, f"{name}, {cores} cores" + (f", {gib(memory.bytes)}" if memory else ""), facts)


def _nvidia(index: int, gpu: NvidiaGpu) -> MachineCheck:
    memory = "" if gpu.memory is None else f", {gib(gpu.memory)}"
    memory += "" if gpu.free is None else f" ({gib(gpu.free)} free)"
    cuda = f", CUDA up to {gpu.cuda}" if gpu.cuda else ""
    facts: dict[str, Json] = {
        "name": gpu.name,
        "memory_bytes": gpu.memory,
        "free_bytes": gpu.free,
        "driver": gpu.driver,
        "cuda": gpu.cuda,
    }
    return MachineCheck(f"GPU {index}", True, f"{gpu.name}{memory}, driver {gpu.driver}{cuda}", facts)


def _apple() -> Iterator[MachineCheck]:
    """MacOS itself, and Apple's GPU, which shares the main memory up to the wired limit."""
    version = platform.mac_ver()[0]
    known = version.partition(".")[0]
    recent = not known.isdecimal() or int(known) >= OLDEST_MACOS
    hint = "" if recent else f"; PyTorch and MLX need macOS {OLDEST_MACOS}"
    yield MachineCheck("macOS", recent, f"{version or 'of an unknown version'}{hint}", {"version": version})
    if sysctl("sysctl.proc_translated") == "1":
        reason = "this Python is built for Intel and translated by Rosetta: MLX and MPS need one for arm64"
        yield MachineCheck("GPU", False, reason, {"translated": True})
    elif platform.machine() == "arm64":
        yield _apple_gpu()


def _apple_gpu() -> MachineCheck:
    wired, memory = _number(sysctl("iogpu.wired_limit_mb")) << 20, _number(sysctl("hw.memsize"))
    limit = f"wired limit {gib(wired)}" if wired else "the system's own wired limit (iogpu.wired_limit_mb is 0)"
    shared = f"shares {gib(memory)}, " if memory else ""
    facts: dict[str, Json] = {"name": cpu_name(), "memory_bytes": memory, "wired_limit_bytes": wired}
    return MachineCheck("GPU", True, f"{cpu_name()}, {shared}{limit}", facts)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
