"""Numbers as people write them."""

from __future__ import annotations

import math
import re

#: Digits in groups of three, with commas before the point alone.
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")


def read_number(text: str) -> float | None:
    """A finite number as people write one (`1,234.50`, `-3`, `5.0`), or None. Quick on any text."""
    plain = text.strip().replace("−", "-")
    if len(plain) > 40:
        return None
    plain = plain.removesuffix(".")
    if "," in plain:
        if not _THOUSANDS.fullmatch(plain):
            return None
        plain = plain.replace(",", "")
    if not plain or not plain.isascii() or any(letter not in "+-.0123456789eE" for letter in plain):
        return None
    try:
        value = float(plain)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
