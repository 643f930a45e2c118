"""Append-only files of JSON lines that survive a kill: a line counts once its newline is written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from mentor_kit.core.errors import DataError
from mentor_kit.runs.compression import open_compressed
from mentor_kit.runs.files import storage_errors
from mentor_kit.utils.files import flush_to_disk

_CHUNK = 1 << 16


class JsonlFile:
    """An append-only file, open for writing.

    Opening removes a last line without its newline: the process that wrote it was killed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self.offset = whole_length(path)
            os.ftruncate(self._handle, self.offset)

    def append(self, lines: Sequence[str], *, sync: bool = False) -> None:
        """Write lines; either all of them are in the file afterwards, or an error is raised and none is.

        Args:
            lines: strings without newlines.
            sync: return only when they would survive a power cut.
        """
        data = "".join(f"{line}\n" for line in lines).encode()
        with storage_errors(self.path):
            try:
                written = 0
                while written < len(data):
                    written += os.write(self._handle, data[written:])
                if sync:
                    flush_to_disk(self._handle)
            except BaseException:
                os.ftruncate(self._handle, self.offset)
                raise
        self.offset += len(data)

    def sync(self) -> None:
        """Make everything written so far survive a power cut."""
        with storage_errors(self.path):
            flush_to_disk(self._handle)

    def truncate(self, offset: int) -> None:
        """Remove everything after the first `offset` bytes."""
        with storage_errors(self.path):
            self.offset = min(offset, self.offset)
            os.ftruncate(self._handle, self.offset)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_lines(path: Path) -> Iterator[bytes]:
    """The complete lines of a file, without newlines; nothing for a file that is not there.

    A file whose name ends with a compression's suffix is decompressed. A last line without its newline is left out: it
    may still be being written.

    Raises:
        DataError: it is not a file, or cannot be read.
        MissingError: it is compressed with zstd, whose package is missing.
    """
    if not path.exists():
        return
    try:
        file = open_compressed(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    with file:
        lines = iter(file)
        while line := _next(lines, path):
            if line.endswith(b"\n"):
                yield line[:-1]


def whole_length(path: Path) -> int:
    """The length in bytes up to and with the last newline."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _CHUNK)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def _next(lines: Iterator[bytes], path: Path) -> bytes:
    """The next line, empty at the end.

    Raises:
        DataError: it cannot be decompressed or read.
    """
    try:
        return next(lines, b"")
    except Exception as error:  # noqa: BLE001 (each compression has errors of its own)
        raise DataError(f"{path} cannot be read: {error}", hint="was the file cut or edited?") from None
