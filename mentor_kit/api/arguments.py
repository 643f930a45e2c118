"""Checks the arguments of this package's functions, so that a caller's mistake is an error of ours with a hint."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mentor_kit.core.errors import UsageError, did_you_mean
from mentor_kit.hooks.registry import Registry
from mentor_kit.hooks.tracker import Tracker
from mentor_kit.stages.evaluation_plan import SplitPlan

P = ParamSpec("P")
T = TypeVar("T")

#: Of the arguments that several functions share: whether a value will do, and what was expected.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "broken": (lambda value: value in ("fail", "skip"), "'fail' or 'skip'"),
    "checkpoint": (lambda value: isinstance(value, str), "the name of a checkpoint"),
    "families": (lambda value: _all_are(value, str), "a list of families' names"),
    "folder": (lambda value: value is None or isinstance(value, (str, Path)), "a folder's path"),
    "kinds": (lambda value: _all_are(value, str), "a list of kinds"),
    "format": (lambda value: isinstance(value, str), "the name of a format"),
    "look": (lambda value: isinstance(value, bool), "True or False"),
    "on": (lambda value: _all_are(value, (str, SplitPlan)), "a list of splits' names or `SplitPlan`s"),
    "only": (lambda value: value in ("all", "right", "best"), "'all', 'right' or 'best'"),
    "output": (lambda value: isinstance(value, (str, Path)), "a folder's path"),
    "overwrite": (lambda value: isinstance(value, bool), "True or False"),
    "problems": (lambda value: _is_count(value, 1), "a whole number above 0"),
    "registry": (lambda value: value is None or isinstance(value, Registry), "a `Registry`"),
    "seed": (lambda value: _is_count(value, 0), "a whole number, 0 or above"),
    "steps": (lambda value: _is_count(value, 1), "a whole number above 0"),
    "to": (lambda value: isinstance(value, str), "the name of a format"),
    "trackers": (lambda value: _all_are(value, Tracker), "a list of `mentor_kit.hooks.Tracker`s"),
    "tries": (lambda value: _is_count(value, 0), "a whole number, 0 or above"),
}


def checked_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """The function, which raises `UsageError` for arguments that it does not have, or cannot take."""
    signature = inspect.signature(function)

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        name = function.__name__
        if unknown := [key for key in kwargs if key not in signature.parameters]:
            hint = f"its arguments are {', '.join(signature.parameters)}"
            guess = did_you_mean(unknown[0], signature.parameters)
            raise UsageError(f"`{name}` has no argument `{unknown[0]}`{guess}", hint=hint)
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise UsageError(f"`{name}`: {error}", hint=f"call it as {name}{signature}") from None
        for key, value in given.items():
            takes, expected = _KINDS.get(key, (lambda _: True, ""))
            if not takes(value):
                raise UsageError(f"`{name}`: `{key}` is {value!r:.200}; expected {expected}")
        return function(*args, **kwargs)

    return called


def _all_are(value: Any, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, kinds) for one in value)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
