"""The teacher: which of another teacher's demonstrations it keeps."""

from __future__ import annotations

import asyncio

import pytest
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import Problem
from mentor_kit.core.teacher import Teacher
from mentor_kit.hooks import BuildContext, ComponentError

PROBLEMS = [Problem(id=name, question="?", answer="4") for name in ("easy", "hard")]


class Asked(Teacher):
    """Solves `easy` with one call less each time, and `hard` never."""

    name = "asked"

    def __init__(self):
        self.calls = 4

    async def demonstrate(self, problems):
        self.calls -= 1
        for problem in problems:
            right = problem.id == "easy"
            yield Demonstration(
                problem_id=problem.id, teacher=self.name, tools_used=("add",) * self.calls, correct=right
            )


@pytest.mark.parametrize("attempts", [1, 3])
def test_the_shortest_right_demonstration_is_kept(registry, monkeypatch, attempts):
    context = BuildContext(registry)
    component = registry.component("teachers", "weather")
    options = registry.check("teachers", ComponentSpec(use="weather", options={"attempts": attempts}))
    monkeypatch.setattr(registry, "build", lambda kind, spec, context: Asked())
    teacher = component.build(options, context)

    async def demonstrations():
        return [found async for found in teacher.demonstrate(PROBLEMS)]

    (kept,) = asyncio.run(demonstrations())
    assert (kept.problem_id, len(kept.tools_used)) == ("easy", 4 - attempts)


def test_the_other_teachers_options_are_checked_too(registry):
    with pytest.raises(ComponentError, match="attempts"):
        registry.check("teachers", ComponentSpec(use="weather", options={"attempts": 0}))
