"""Who is evaluated, as overrides of the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mentor_kit.api.subjects import check_subject, with_agent, with_student
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import UsageError
from mentor_kit.recipe.settings import parse_settings

USE = "evaluate.agent.use"
TEMPERATURE = "evaluate.agent.with.temperature"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], [USE, TEMPERATURE]),
        (["seed=1"], [USE, "seed", TEMPERATURE]),
        (["evaluate.agent.with.model=b"], [USE, "evaluate.agent.with.model", TEMPERATURE]),
        # an override of all of `evaluate` would put the student back in its place
        (["evaluate={on: []}", "seed=1"], ["evaluate", USE, "seed", TEMPERATURE]),
        (
            ["evaluate={on: [{split: a}]}", "evaluate.every=1", "evaluate.agent={use: x}", "evaluate.agent.with.k=1"],
            ["evaluate", "evaluate.every", "evaluate.agent", USE, "evaluate.agent.with.k", TEMPERATURE],
        ),
        (["evaluate.on.0.problems=3"], [USE, "evaluate.on.0.problems", TEMPERATURE]),
    ],
)
def test_the_agent_that_is_asked_for_is_evaluated(overrides: list[str], expected: list[str]) -> None:
    settings = parse_settings(overrides)
    found = with_agent(settings, ComponentSpec(use="openai", options={"temperature": 0.5}))
    assert list(found) == expected
    assert (found[USE], found[TEMPERATURE]) == ("openai", 0.5)
    assert with_agent(settings, None) == with_agent(settings, ComponentSpec(use="teacher")) == settings


def test_the_recipes_own_teacher_takes_no_options() -> None:
    with pytest.raises(UsageError):
        with_agent({}, ComponentSpec(use="teacher", options={"model": "x"}))


def test_a_folder_of_a_student_does_not_depend_on_that_of_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert with_student({}, "mine") == {"student.model": str(tmp_path / "mine")}
    assert with_student({"seed": 1}, "owner/name") == {"seed": 1, "student.model": "owner/name"}


@pytest.mark.parametrize(
    "arguments",
    [("a", "b", "last", None), ("a", None, "last", "c"), (None, "b", "last", "c"), (None, None, "best", None)],
)
def test_arguments_that_contradict_each_other(arguments: tuple[Any, Any, str, Any]) -> None:
    with pytest.raises(UsageError):
        check_subject(*arguments)
