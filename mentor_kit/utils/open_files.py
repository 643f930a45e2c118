"""The limit of this process's open files."""

from __future__ import annotations

from contextlib import suppress

#: Open files that a run with many tool processes and connections needs; macOS's terminals allow 256.
ENOUGH = 4096


def allow_open_files(count: int = ENOUGH) -> None:
    """Raise the limit of open files to `count`, as far as the system lets this user; it is never lowered."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # a system may have a lower limit of its own beside it
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
