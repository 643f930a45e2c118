"""Base class of teachers, which demonstrate how problems are solved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from mentor_kit.core.agent import Agent
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory


class Teacher(ABC):
    """Base class of teachers. A teacher implements `demonstrate` and has a `name`; everything else is optional.

    One whose model has the student's tokens may be distilled from: `mentor_kit.stages.distillation.TokenTeacher`.
    """

    name: str
    """The teacher's name in demonstrations and reports."""
    costly: bool = True
    """Whether a demonstration costs money or minutes, as a server's or a large model's does. A preview asks such a
    teacher only on request. Teachers that compute or read their demonstrations set it to False."""
    concurrency: int = 1
    """The number of requests under way at once, for estimates of time."""

    @abstractmethod
    def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        """Yield demonstrations for the problems in any order: none, one or several for each, correct or not.

        Keeping only right ones is the caller's choice.
        """

    async def rollouts(self, problems: Sequence[Problem], episodes: int) -> list[Trajectory]:
        """`episodes` trajectories for each problem, right or wrong, those of a problem next to each other.

        Optional: with it a teacher can be evaluated as a student is.
        """
        raise NotImplementedError(f"{type(self).__name__} has demonstrations only")

    @property
    def has_rollouts(self) -> bool:
        """Whether the teacher overrides `rollouts`."""
        return type(self).rollouts is not Teacher.rollouts

    def open_agent(self) -> AbstractAsyncContextManager[Agent]:
        """Open the teacher as an agent, for dialogues with a person.

        Optional: with it one can chat with a teacher.
        """
        raise NotImplementedError(f"{type(self).__name__} has demonstrations only")

    @property
    def has_agent(self) -> bool:
        """Whether the teacher overrides `open_agent`."""
        return type(self).open_agent is not Teacher.open_agent

    @property
    def takes_questions(self) -> bool:
        """Whether its agent answers any question; False where it knows the task's problems only."""
        return True

    def account(self) -> dict[str, Json]:
        """Return counters since the teacher was built, such as attempts, tokens and cost, for a stage's summary."""
        return {}

    def cost(self, input_tokens: int, output_tokens: int) -> float | None:
        """Return the dollars for numbers of tokens sent and received; None where no prices are known."""
        return None

    def unasked(self, problems: Sequence[Problem]) -> str | None:
        """Return the demonstrations that belong to none of the problems, for teachers that read them from a file.

        One line with how many they are, and where; None where there are none, or where this cannot be known.
        """
        return None

    def model_hosts(self) -> Sequence[object]:
        """Return what holds models in this process: itself, or a teacher that it falls back to; servers hold none.

        Each is a `mentor_kit.backend.hosted_model.ModelHost`, and has memory set aside beside the student.
        """
        return ()

    def close(self) -> None:
        """Free the teacher's resources at the end of the run. May be called twice."""
        return None
