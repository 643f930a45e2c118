"""The teacher `weather`: the shortest right demonstration of several by another teacher."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from mentor_kit.core.component import ComponentSpec, TeacherSpec
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import Problem
from mentor_kit.core.teacher import Teacher
from mentor_kit.hooks import BuildContext
from pydantic import BaseModel, ConfigDict, Field


class WeatherTeacherOptions(BaseModel):
    """What a recipe may write in `with:`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    teacher: TeacherSpec = ComponentSpec(use="scripted")
    """The teacher that is asked."""
    attempts: int = Field(default=1, gt=0)
    """How many times it is asked for each problem; more than once is for teachers that sample."""


class WeatherTeacher(Teacher):
    """Keeps for each problem the right demonstration with the fewest calls; problems that were not solved have none."""

    def __init__(self, options: WeatherTeacherOptions, context: BuildContext) -> None:
        self.asked: Teacher = context.registry.build("teachers", options.teacher, context)
        self.attempts = options.attempts
        self.name = f"shortest of {self.asked.name}"
        self.costly = self.asked.costly

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        """Yield at most one demonstration for each problem, in the order in which problems were first solved."""
        shortest: dict[str, Demonstration] = {}
        for _ in range(self.attempts):
            async for found in self.asked.demonstrate(problems):
                best = shortest.get(found.problem_id)
                if found.correct and (best is None or len(found.tools_used) < len(best.tools_used)):
                    shortest[found.problem_id] = found
        for demonstration in shortest.values():
            yield demonstration

    def model_hosts(self) -> Sequence[object]:
        """Those of the other teacher."""
        return self.asked.model_hosts()

    def close(self) -> None:
        """Free what the other teacher holds."""
        self.asked.close()
