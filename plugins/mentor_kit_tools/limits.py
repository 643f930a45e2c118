"""Limits of a tool's time, memory and output."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from mentor_kit.core.option_model import OptionModel


class Limits(OptionModel):
    """Limits of one worker process. A call that passes one fails, and its process is replaced.

    Time is watched from outside; memory, processor time and file sizes are limits of the operating system
    (POSIX `setrlimit`), which macOS does not keep for memory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    seconds: float = Field(default=10.0, gt=0, le=86_400)
    """Time that one call may take, by the clock on the wall."""
    cpu_seconds: int = Field(default=30, gt=0, le=86_400)
    """Processor time that one call may use, over all threads."""
    memory_mb: int = Field(default=2048, ge=64, le=1 << 20)
    """Address space of the process beyond what Python itself needs, in MiB."""
    output_kb: int = Field(default=1024, gt=0, le=1 << 20)
    """Largest output of one call, and its largest result, in KiB."""
    file_mb: int = Field(default=64, ge=0, le=1 << 20)
    """The largest file it may write, in MiB; 0 for none at all."""
    start_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """Time that loading the tools may take."""

    @property
    def output_bytes(self) -> int:
        """`output_kb` in bytes."""
        return self.output_kb << 10
