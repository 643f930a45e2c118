"""Writes files and folders atomically: a kill, a power cut or a full disk leaves either the old one or the new one.

Temporary names start with `.new-`, those of folders being replaced with `.old-`; `tidy` removes both.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mentor_kit.core.errors import MentorKitError, UsageError
from mentor_kit.core.posix import posix_missing
from mentor_kit.utils.files import NEW, flush_to_disk, open_to_readers

OLD = ".old-"

#: Below this many free bytes, a library's own complaint about writing is taken for a full disk.
FULL = 1 << 20


@contextmanager
def storage_errors(path: Path, kept: str = "everything that was written before is whole") -> Iterator[None]:
    """Turn failures to write below `path` into errors that name the place, the space that is left, and what is kept.

    Raises:
        MentorKitError: the disk is full, read-only, or may not be written to.
    """
    try:
        yield
    except OSError as error:
        raise _explained(error, path, kept) from error
    except Exception as error:
        # libraries that write weights wrap the system's error into their own
        if not isinstance(error, MentorKitError) and (_says_full(error) or _free(path) < FULL):
            raise _explained(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path, kept) from error
        raise


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Write a text in UTF-8; as `write_bytes`."""
    write_bytes(path, text.encode(), sync=sync)


def write_bytes(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file atomically; readers see the old one or the new one.

    Raises:
        UsageError: the path is a folder.
        MentorKitError: it cannot be written.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="name a file to write")
    temporary = path.with_name(NEW + path.name)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                if sync:
                    flush_to_disk(file.fileno())
            temporary.replace(path)
            if sync:
                sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_folder(path: Path, fill: Callable[[Path], object]) -> Path:
    """Fill a folder under a temporary name, then put it in place of the one that may be there."""
    new, old = path.with_name(NEW + path.name), path.with_name(OLD + path.name)
    try:
        # the fault is explained before the clean-up, after which a full disk has space again
        with storage_errors(path):
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            fill(new)
            open_to_readers(new)
            _sync_tree(new)
            if path.exists():
                path.rename(old)
            new.rename(path)
            sync_folder(path.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        with storage_errors(path):
            _settle(old)
    return path


def remove_folder(path: Path) -> None:
    """Remove a folder atomically, if it is there."""
    if path.exists():
        going = path.with_name(NEW + path.name)
        shutil.rmtree(going, ignore_errors=True)
        with storage_errors(path):
            path.rename(going)
        shutil.rmtree(going, ignore_errors=True)


def tidy(folder: Path) -> None:
    """Remove what a killed process left in a folder; put back a folder that was just being replaced."""
    if not folder.is_dir():
        return
    for found in folder.iterdir():
        if found.name.startswith(NEW):
            shutil.rmtree(found, ignore_errors=True) if found.is_dir() else found.unlink(missing_ok=True)
        elif found.name.startswith(OLD) and found.is_dir():
            _settle(found)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries survive a power cut; nothing on Windows, which cannot open folders."""
    if posix_missing():
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        flush_to_disk(handle)
    except OSError as error:
        # some network file systems cannot sync folders, and do not need to
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            handle = os.open(Path(root) / name, os.O_RDONLY)
            try:
                flush_to_disk(handle)
            finally:
                os.close(handle)
        sync_folder(Path(root))


def _settle(old: Path) -> None:
    """Finish an interrupted replacement: put the old folder back if the new one is missing, else remove it."""
    current = old.with_name(old.name.removeprefix(OLD))
    if old.exists() and not current.exists():
        old.rename(current)
    else:
        shutil.rmtree(old, ignore_errors=True)


def _says_full(error: BaseException) -> bool:
    return os.strerror(errno.ENOSPC) in str(error)


def _free(path: Path) -> int:
    """Bytes free where `path` lies or would lie."""
    place = next((found for found in (path, *path.parents) if found.exists()), Path.cwd())
    return shutil.disk_usage(place).free


def _explained(error: OSError, path: Path, kept: str) -> MentorKitError:
    reason = error.strerror or str(error)
    if error.filename is not None and not Path(os.fsdecode(error.filename)).is_relative_to(path.parent):
        reason += f": {os.fsdecode(error.filename)}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason += f" ({_free(path):,} bytes free there)"
        hint = "make room on that disk, or name a folder on another one"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        hint = "make that folder writable, or name another one"
    elif error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT):
        hint = "name a place that can be made: a file may be where a folder should be, or the other way round"
    else:
        hint = "check that disk, then resume the run"
    return MentorKitError(f"cannot write {path}: {reason}; {kept}", hint=hint)
