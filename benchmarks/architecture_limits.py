"""Limits of other programs that a check of `architectures.py` meets, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping

#: By architecture, backend and check: what is not possible, beginning with whose limit it is.
LIMITS: Mapping[tuple[str, str, str], str] = {}


def limit_of(name: str, backend: str, check: str) -> str | None:
    """The limit of another program that makes a check fail; None where it is our own."""
    return LIMITS.get((name, backend, check))
