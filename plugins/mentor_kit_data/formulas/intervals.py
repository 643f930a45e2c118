"""Sets of real numbers as intervals, from unions, differences and inequalities of one letter."""

from __future__ import annotations

import math
from typing import Any

from mentor_kit_data.formulas.evaluation import Evaluator, NoValue
from mentor_kit_data.formulas.tree import Formula

#: (lower end, whether it belongs to it, upper end, whether it belongs to it)
Intervals = list[tuple[Any, bool, Any, bool]]


def real_set(formula: Formula, evaluator: Evaluator) -> Intervals:
    """The intervals of a set of real numbers, in order: (lower end, whether it belongs to it, upper end, likewise).

    Raises:
        NoValue: it is no such set.
    """
    return _merged(_intervals(formula, evaluator), evaluator)


def _intervals(formula: Formula, evaluator: Evaluator) -> Intervals:
    infinity = math.inf
    if formula.kind == "sequence" and len(formula.parts) == 2:
        low, high = (evaluator.real(part) for part in formula.parts)
        return [(low, formula.name[0] == "[", high, formula.name[1] == "]")]
    if formula.kind == "set":
        return [(value, True, value, True) for value in (evaluator.real(part) for part in formula.parts)]
    if formula.kind == "constant" and formula.name == "mathbb R":
        return [(-infinity, False, infinity, False)]
    if formula.kind == "union" or (formula.kind == "list" and formula.name == "or"):
        return [interval for part in formula.parts for interval in _intervals(part, evaluator)]
    if formula.kind == "difference":
        whole, without = (_merged(_intervals(part, evaluator), evaluator) for part in formula.parts)
        return _without(whole, without)
    if formula.kind == "labelled" and formula.name.endswith(r"\in"):
        return _intervals(formula.parts[0], evaluator)
    if formula.kind == "relation":
        return _of_relation(formula, evaluator)
    raise NoValue(formula.kind)


def _of_relation(formula: Formula, evaluator: Evaluator) -> Intervals:
    r"""`x > 1`, `0 < x \le 1`, `x \ne 2`, with the letter alone on its side."""
    signs = formula.name.split()
    places = [index for index, part in enumerate(formula.parts) if part.kind == "name"]
    if len(places) != 1 or any(sign not in _ORDER for sign in signs) or len(signs) > 2:
        raise NoValue("no inequality of one letter")
    place = places[0]
    if signs == [r"\ne"]:
        value = evaluator.real(formula.parts[1 - place])
        return [(-math.inf, False, value, False), (value, False, math.inf, False)]
    low: tuple[Any, bool] = (-math.inf, False)
    high: tuple[Any, bool] = (math.inf, False)
    for index, sign in enumerate(signs):
        other = index + 1 if index + 1 != place else index
        upper = (sign in ("<", r"\le")) == (other > place)
        bound = (evaluator.real(formula.parts[other]), sign in (r"\le", r"\ge"))
        if index not in (place, place - 1) or sign == r"\ne":
            raise NoValue("no inequality of one letter")
        low, high = (low, bound) if upper else (bound, high)
    return [(*low, *high)]


_ORDER = frozenset(["<", ">", r"\le", r"\ge", r"\ne"])


def _without(whole: Intervals, without: Intervals) -> Intervals:
    """The parts of intervals that others leave."""
    for start, has_start, end, has_end in without:
        left = []
        for low, has_low, high, has_high in whole:
            if end < low or start > high:
                left.append((low, has_low, high, has_high))
                continue
            if low < start or (low == start and has_low and not has_start):
                left.append((low, has_low, start, not has_start))
            if high > end or (high == end and has_high and not has_end):
                left.append((end, not has_end, high, has_high))
        whole = left
    return whole


def _merged(intervals: Intervals, evaluator: Evaluator) -> Intervals:
    """The intervals in order, those that touch as one, empty ones left out."""
    found: Intervals = []
    full = [i for i in intervals if i[0] < i[2] or (evaluator.near(i[0], i[2]) and i[1] and i[3])]
    for low, has_low, high, has_high in sorted(full, key=lambda i: (i[0], not i[1])):
        if found:
            start, has_start, end, has_end = found[-1]
            if low < end or (evaluator.near(low, end) and (has_low or has_end)):
                top, has_top = (high, has_high) if high > end else (end, has_end or (has_high and high == end))
                found[-1] = (start, has_start, top, has_top)
                continue
        found.append((low, has_low, high, has_high))
    return found
