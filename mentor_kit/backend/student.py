"""Which student a backend loads, and with which adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AdapterSpec:
    """A low-rank adapter on the student: a new one, or one that exists in a folder."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    """Names of the modules to adapt; empty for all linear layers but the output projection."""
    path: Path | None = None
    """A folder with an adapter to go on training; the other fields are then read from it."""


@dataclass(frozen=True)
class StudentSpec:
    """Which model to load. `model` is a folder in transformers' format, or a hub id."""

    model: str
    revision: str | None = None
    adapter: AdapterSpec | None = None
