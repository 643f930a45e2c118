"""Compression of a run's files of rollouts and episodes: none, gzip or zstd, which a file's suffix tells."""

from __future__ import annotations

import gzip
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Literal, cast

from mentor_kit.core.errors import MissingError

#: How a file is compressed.
Compression = Literal["none", "gzip", "zstd"]

#: The suffix that each compression adds to a file's name.
SUFFIXES: dict[Compression, str] = {"none": "", "gzip": ".gz", "zstd": ".zst"}


def check_compression(compression: Compression) -> None:
    """Check that this Python can compress so.

    Raises:
        MissingError: a package is missing.
    """
    if compression == "zstd":
        _zstd()


def compress(data: bytes, compression: Compression) -> bytes:
    """The data, compressed; the same bytes for the same data.

    Raises:
        MissingError: zstd's package is missing.
    """
    if compression == "gzip":
        return gzip.compress(data, 6, mtime=0)
    return cast(bytes, _zstd().compress(data)) if compression == "zstd" else data


def open_compressed(path: Path) -> BinaryIO:
    """The file, open for reading what was compressed.

    Raises:
        OSError: it cannot be opened.
        MissingError: zstd's package is missing.
    """
    if path.suffix == SUFFIXES["gzip"]:
        return cast(BinaryIO, gzip.open(path, "rb"))
    return cast(BinaryIO, _zstd().open(path, "rb")) if path.suffix == SUFFIXES["zstd"] else path.open("rb")


def variants(path: Path) -> list[Path]:
    """The path with the suffix of every compression, uncompressed first, whether or not there is such a file."""
    return [path.with_name(path.name + suffix) for suffix in SUFFIXES.values()]


def existing(path: Path) -> Path:
    """The file that there is of the path's variants; the path itself where there is none."""
    return next((found for found in variants(path) if found.exists()), path)


def _zstd() -> ModuleType:
    """Python's own module from 3.14 on, and its backport before.

    Raises:
        MissingError: the backport is not installed.
    """
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingError(f"zstd needs the module {name}", hint="pip install 'mentor-kit[zstd]'") from None
