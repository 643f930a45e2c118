"""The graphics processors of this machine, found without importing a framework: NVIDIA's by its driver's program."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

#: WSL keeps the driver's program outside PATH.
_NVIDIA_SMI = ("nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi")
_FIELDS = ("name", "memory.total", "memory.free", "driver_version")
_SECONDS = 20.0


class DriverError(Exception):
    """NVIDIA's driver is installed and does not answer; the message is its own first line."""


@dataclass(frozen=True)
class NvidiaGpu:
    """A graphics processor of NVIDIA's."""

    name: str
    memory: int | None
    """Bytes; None where the driver does not say, as for a processor that shares the machine's memory."""
    free: int | None
    driver: str
    """The driver's version."""
    cuda: str = ""
    """The newest version of CUDA that the driver runs; empty where it does not say."""


def nvidia_gpus() -> list[NvidiaGpu]:
    """NVIDIA's graphics processors, in the driver's order; none where its program is not installed.

    Raises:
        DriverError: the driver does not answer.
    """
    program = next((found for name in _NVIDIA_SMI if (found := shutil.which(name))), None)
    if program is None:
        return []
    listed = _ask(program, f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits")
    rows = [[value.strip() for value in line.split(",")] for line in listed.splitlines() if line.strip()]
    gpus = [row for row in rows if len(row) == len(_FIELDS)]
    cuda = re.findall(r"CUDA Version:\s*(\d[\d.]*)", _ask(program)) if gpus else []
    return [NvidiaGpu(name, _bytes(total), _bytes(free), driver, *cuda[:1]) for name, total, free, driver in gpus]


def _ask(program: str, *arguments: str) -> str:
    """What the driver's program prints; empty where it finds no processor.

    Raises:
        DriverError: it fails.
    """
    try:
        asked = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=_SECONDS, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise DriverError(f"{program} does not answer within {_SECONDS:g} s") from None
    except OSError as error:
        raise DriverError(f"{program}: {error.strerror}") from None
    said = (asked.stdout.strip() or asked.stderr.strip()).splitlines() or [f"{program} ends with {asked.returncode}"]
    if "No devices were found" in said[0]:
        return ""
    if asked.returncode:
        raise DriverError(said[0])
    return asked.stdout


def _bytes(mebibytes: str) -> int | None:
    return int(mebibytes) << 20 if mebibytes.isdecimal() else None
