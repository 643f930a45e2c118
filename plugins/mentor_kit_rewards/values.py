"""Canonical values of arguments and calls, for comparison by terms."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from mentor_kit.core.conversation import ToolCall
from mentor_kit.core.frozen_model import Json

#: From here on neighbouring floats differ by more than twelve digits show, and whole numbers are compared exactly.
_EXACT = 1e12


def canonical(value: Json) -> Hashable:
    """Return the canonical form of a JSON value, equal for equivalent values.

    Numbers by value (5 is 5.0, but not "5" and not true): whole ones exactly, others to 12 significant digits; texts in
    NFC with single spaces; objects whatever the order of their keys; lists in their order.
    """
    if isinstance(value, bool) or value is None:
        return ("constant", value)
    if isinstance(value, int | float):
        return ("number", _number(value))
    if isinstance(value, str):
        return ("text", " ".join(unicodedata.normalize("NFC", value).split()))
    if isinstance(value, Mapping):
        return ("object", frozenset((str(key), canonical(item)) for key, item in value.items()))
    return ("list", tuple(canonical(item) for item in value))


def without_idle_repeats(used: Sequence[ToolCall], shown: Sequence[ToolCall] | None) -> list[ToolCall]:
    """Return the calls without those that repeat earlier ones.

    A call that equals an earlier one, arguments included, is kept only as often as the demonstration repeats calls of
    that tool: one call made twice counts once.

    Args:
        used: the student's executed calls.
        shown: the demonstration's; None if it has names alone: then all calls are kept.
    """
    if shown is None:
        return list(used)
    free = _repeats(shown)
    seen: set[Hashable] = set()
    kept = []
    for call in used:
        key = _essence(call)
        if key in seen:
            if not free[call.name]:
                continue
            free[call.name] -= 1
        seen.add(key)
        kept.append(call)
    return kept


def _repeats(calls: Sequence[ToolCall]) -> Counter[str]:
    """How many calls of each tool repeat an earlier one."""
    distinct = {_essence(call): call.name for call in calls}
    return Counter(call.name for call in calls) - Counter(distinct.values())


def _essence(call: ToolCall) -> Hashable:
    return call.name, canonical(call.arguments)


def _number(value: float) -> int | float | str:
    if isinstance(value, int) or value.is_integer():
        return int(value)
    if not math.isfinite(value):
        return str(value)
    rounded = value if abs(value) >= _EXACT else float(f"{value:.12g}")
    return int(rounded) if rounded.is_integer() else rounded
