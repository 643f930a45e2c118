"""Standard JSON: numbers that are not finite become null."""

from __future__ import annotations

import json
from typing import Any


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return the JSON of a value; NumPy scalars and paths become plain values.

    Args:
        value: anything JSON has, and tuples, sets, paths and scalars of NumPy and other libraries.
        indent: spaces per level; everything on one line if left out.
    """
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return float(value) if value - value == 0 else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return _plain(value.item()) if hasattr(value, "item") else str(value)
