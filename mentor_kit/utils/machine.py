"""The machine's processor, as Linux and macOS name it."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

#: macOS's program for values of its kernel; its folder is not on every PATH.
_SYSCTL = "/usr/sbin/sysctl"
_CPUS = Path("/proc/cpuinfo")
_SECONDS = 5.0


def cpu_name() -> str:
    """Return the processor's model name (`AMD EPYC 9R14`, `Apple M4`); its architecture where that is not known."""
    if sys.platform == "darwin":
        found = sysctl("machdep.cpu.brand_string")
    else:
        found = next((line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")), "")
    return found or platform.processor() or platform.machine()


def sysctl(name: str) -> str:
    """Return a value of macOS's kernel, such as `hw.memsize`; an empty string where there is none."""
    try:
        asked = subprocess.run(
            [_SYSCTL, "-n", name], capture_output=True, text=True, timeout=_SECONDS, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


def _cpu_lines() -> list[str]:
    try:
        return _CPUS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
