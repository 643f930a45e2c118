"""What a caller gets wrong is a `UsageError` that names the argument."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from typing import Any

import pytest

import mentor_kit
import mentor_kit.api
from mentor_kit.core.errors import MentorKitError, UsageError


@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        ("run", {"trackers": 3}, "trackers"),
        ("run", {"trackers": ["display"]}, "trackers"),
        ("run", {"output": 5}, "output"),
        ("run", {"override": {}}, "override"),
        ("run", {"registry": "default"}, "registry"),
        ("bench", {"steps": "x"}, "steps"),
        ("bench", {"steps": 0}, "steps"),
        ("bench", {"steps": True}, "steps"),
        ("evaluate", {"on": [5]}, "on"),
        ("evaluate", {"on": "in-domain"}, "on"),
        ("evaluate", {"checkpoint": 3}, "checkpoint"),
        ("collect", {"problems": -1}, "problems"),
        ("audit", {"families": "hermes"}, "families"),
        ("audit", {"tries": 1.5}, "tries"),
        ("check", {"look": 1}, "look"),
        ("convert_data", {"target": "x.jsonl", "to": 3}, "to"),
        ("convert_data", {"target": "x.jsonl", "to": "trl", "only": "good"}, "only"),
        ("convert_data", {"target": "x.jsonl", "to": "trl", "broken": True}, "broken"),
        ("convert_data", {"target": "x.jsonl", "to": "trl", "overwrite": 1}, "overwrite"),
        ("check_data", {"format": None}, "format"),
    ],
)
def test_a_wrong_argument_is_named(function: str, arguments: Mapping[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=f"`{named}`"):
        getattr(mentor_kit, function)("quickstart", **arguments)


@pytest.mark.parametrize("recipe", [[], 3, None, {"mentorkit": 1}, {"nmae": "x"}])
@pytest.mark.parametrize("function", ["run", "check", "plan", "evaluate", "bench"])
def test_what_is_no_recipe_is_an_error_of_ours(function: str, recipe: Any) -> None:
    with pytest.raises(MentorKitError):
        getattr(mentor_kit, function)(recipe)


def test_a_missing_argument() -> None:
    with pytest.raises(UsageError, match="recipe"):
        mentor_kit.check()  # type: ignore[call-arg]


def test_no_package_takes_the_place_of_a_public_name() -> None:
    """Importing `mentor_kit.x` sets the attribute `x`, which a function of that name would be lost to."""
    for package in (mentor_kit, mentor_kit.api):
        assert not {module.name for module in pkgutil.iter_modules(package.__path__)} & set(package.__all__)
