"""Specifications of a student and its adapter, for backends to load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AdapterSpec:
    """A low-rank adapter: a new one, or one from a folder."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    """Names of the modules to adapt; empty for all linear layers but the output projection."""
    path: Path | None = None
    """A folder with an adapter to train further, which has the other fields then."""


@dataclass(frozen=True)
class StudentSpec:
    """A model, as a folder in transformers' format or a hub id, and its adapter."""

    model: str
    revision: str | None = None
    adapter: AdapterSpec | None = None
