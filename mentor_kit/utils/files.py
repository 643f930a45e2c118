"""Files: modes of those that libraries write, and writing through to the disk."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: How temporary names begin; a process that was killed may leave such a file, and `mentor_kit.runs.files` clears it.
NEW = ".new-"


def open_to_readers(folder: Path) -> None:
    """Give a folder's files the modes that the umask gives new files: some libraries write for the owner alone.

    They are read from a new file, as the umask itself cannot be read without being changed.
    """
    probe = folder / f"{NEW}probe"
    probe.touch()
    mode = probe.stat().st_mode & 0o666
    probe.unlink()
    for path in folder.rglob("*"):
        if not path.is_symlink():
            # whoever may read a folder may look inside
            path.chmod(mode | (mode & 0o444) >> 2 if path.is_dir() else mode)


def flush_to_disk(handle: int) -> None:
    """Return only when what was written to an open file, or a folder's entries, would survive a power cut.

    Raises:
        OSError: the disk reports an error, or the file system cannot do it.
    """
    if sys.platform == "darwin":
        import fcntl

        try:
            # `fsync` there leaves the data in the drive's own memory
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            return
        except OSError:  # a file system that does not know it, such as one over the network
            pass
    os.fsync(handle)
