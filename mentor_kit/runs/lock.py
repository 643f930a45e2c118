"""A lock on a run folder: one process at a time runs in it."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

from mentor_kit.core.errors import UsageError
from mentor_kit.core.posix import posix_missing, require_posix
from mentor_kit.runs.files import storage_errors

#: Folders locked by this process: the system's locks do not keep a process out of its own.
_HELD: set[Path] = set()


class FolderLock:
    """A lock that ends with the process that holds it: the lock of a dead process is free.

    A POSIX record lock: unlike `flock`, child processes that outlive a killed parent do not keep it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder.resolve() / ".lock"
        self._handle = -1

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            UsageError: another live process, or another run of this one, holds it.
            MissingError: the system has no such locks (Windows).
        """
        require_posix("a run")
        if self.path in _HELD:
            raise self._taken(os.getpid())
        with storage_errors(self.path):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _try(handle):
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            os.close(handle)
            raise self._taken(holder or "unknown")
        with storage_errors(self.path):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle
        _HELD.add(self.path)

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._handle >= 0:
            _HELD.discard(self.path)
            os.close(self._handle)
            self._handle = -1

    def _taken(self, holder: int | str) -> UsageError:
        return UsageError(
            f"{self.path.parent} is in use by process {holder}",
            hint="wait for it or stop it, then try again; or start a new run without --resume",
        )


def is_locked(folder: Path) -> bool:
    """Whether a live process is running in the folder. The lock is asked about, not taken: a run is not disturbed.

    False on Windows, where nothing runs.
    """
    path = folder.resolve() / ".lock"
    if path in _HELD:
        return True
    if posix_missing():
        return False
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return _has_holder(handle)
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(handle)


def _has_holder(handle: int) -> bool:
    """Whether another process holds the lock.

    Raises:
        OSError: the file system has no locks.
    """
    import fcntl  # Windows has no such module

    # the system's `struct flock`; its fields have another order on macOS
    order, place = ("qqihh", 3) if sys.platform == "darwin" else ("hhqqi", 0)
    fields = [0] * len(order)
    fields[place] = fcntl.F_WRLCK
    found = fcntl.fcntl(handle, fcntl.F_GETLK, struct.pack(order, *fields))
    return bool(struct.unpack(order, found)[place] != fcntl.F_UNLCK)


def _try(handle: int) -> bool:
    """Whether the lock could be taken."""
    import fcntl

    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
