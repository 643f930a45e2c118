"""Limits that a worker process sets on itself, by POSIX's `setrlimit`, and on macOS by watching its memory."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

#: The exit code of a worker whose memory was watched and exceeded its limit.
OUT_OF_MEMORY = 77
#: Seconds between two looks at the memory.
_LOOK_SECONDS = 0.02


def limit_process(limits: Mapping[str, Any]) -> None:
    """Limit core dumps, the size of files and memory for the rest of the process's life.

    Args:
        limits: `file_mb` and `memory_mb`, MiB; memory is what comes on top of what the process has taken by now.
    """
    import resource  # Windows has no such module, and only imports this one

    memory = int(limits["memory_mb"]) << 20
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_FSIZE, int(limits["file_mb"]) << 20)
    if sys.platform == "darwin":
        # its processes map hundreds of GiB, most of them shared: a limit of the address space is refused
        watch_memory(memory)
    else:
        _set_limit(resource.RLIMIT_AS, _address_space() + memory)


def limit_cpu(seconds: int) -> None:
    """Let the process use so much more processor time; the signal for more ends it."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def watch_memory(more: int) -> None:
    """End the process with `OUT_OF_MEMORY` once it has taken that many bytes more than now.

    Weaker than a limit of the system: it is noticed after the fact, and not before a long computation in C ends.
    """
    most = _peak_memory() + more

    def watch() -> None:
        pause = threading.Event()
        while _peak_memory() <= most:
            pause.wait(_LOOK_SECONDS)
        os._exit(OUT_OF_MEMORY)

    threading.Thread(target=watch, daemon=True, name="memory").start()


def _peak_memory() -> int:
    """The most bytes of main memory that this process has had."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _set_limit(kind: int, value: int) -> None:
    import resource

    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(kind, (value, value))
    except (OSError, ValueError):
        # other systems may know a limit and refuse it; time is still watched from outside
        if sys.platform.startswith("linux"):
            raise


def _address_space() -> int:
    """Bytes of address space that are in use already; 0 where that cannot be read."""
    import resource

    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (pathlib is not needed in here)
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
