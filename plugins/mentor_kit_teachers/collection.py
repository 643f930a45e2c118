"""Collects demonstrations from a fallible teacher: several attempts a problem; verified ones are kept.

attempt 1 ─right?─> attempt 2 ─right?─> …      until `references` right ones are there, or `attempts` are used up
                                        └─> none right: `when_none`, or the fallback teacher
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from mentor_kit.core.component import TeacherSpec
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.task import Problem
from mentor_kit.core.teacher import Teacher
from mentor_kit.hooks import BuildContext


class CollectionOptions(OptionModel):
    """Options of a teacher's attempts at a problem, and of what is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    attempts: int = Field(default=1, gt=0)
    """Episodes a problem, at most; the next one is run only while right ones are missing."""
    references: int = Field(default=1, gt=0)
    """The number of right demonstrations a problem."""
    when_none: Literal["skip", "show", "fail"] = "skip"
    """What becomes of a problem without a right attempt: skip gives nothing, show gives the wrong attempts
    (kept by `keep: all` only), fail ends the run."""
    fallback: TeacherSpec | None = None
    """A teacher for the problems without a right attempt; it is tried before `when_none`."""
    seed: int = Field(default=0, ge=0)
    """Another seed asks the teacher anew. The recipe's seed does not, so that several runs share paid answers."""

    @model_validator(mode="after")
    def _enough_attempts(self) -> CollectionOptions:
        if self.references > self.attempts:
            raise ValueError(f"{self.references} references need at least as many attempts, not {self.attempts}")
        return self

    def fallback_teacher(self, context: BuildContext) -> Teacher | None:
        """The fallback, built."""
        teacher: Teacher | None = None
        if self.fallback is not None:
            teacher = context.registry.build("teachers", self.fallback, context)
        return teacher


@dataclass
class Tally:
    """Counts of a teacher's attempts and their results."""

    problems: int = 0
    attempts: int = 0
    right: int = 0
    unsolved: int = 0
    """Problems without a right attempt."""

    def account(self) -> dict[str, Json]:
        """For the summary."""
        return {"attempts": self.attempts, "right_attempts": self.right, "unsolved": self.unsolved}


@dataclass
class Attempts:
    """The attempts at one problem."""

    problem: Problem
    options: CollectionOptions
    made: list[Demonstration] = field(default_factory=list)

    @property
    def right(self) -> list[Demonstration]:
        """Those that the task found right."""
        return [attempt for attempt in self.made if attempt.correct]

    @property
    def wanted(self) -> bool:
        """Whether another attempt is due."""
        return len(self.made) < self.options.attempts and len(self.right) < self.options.references

    def kept(self, tally: Tally) -> list[Demonstration]:
        """Return the demonstrations among them, without a fallback's.

        Raises:
            DataError: none is right, and `when_none` is `fail`.
        """
        tally.problems += 1
        tally.attempts += len(self.made)
        tally.right += len(self.right)
        if self.right:
            return self.right
        tally.unsolved += 1
        if self.options.fallback is None and self.options.when_none == "fail":
            raise unsolved(self.problem, len(self.made))
        return self.made if self.options.when_none == "show" else []


def unsolved(problem: Problem, attempts: int) -> DataError:
    """The error of `when_none: fail`."""
    return DataError(
        f"the teacher solved problem {problem.id!r} in none of {attempts} attempts",
        hint="raise `teacher.with.attempts`, or set `teacher.with.when_none` to skip",
    )


async def fall_back(fallback: Teacher, missing: Sequence[Problem], options: CollectionOptions) -> list[Demonstration]:
    """Return the fallback's demonstrations for the unsolved problems.

    Raises:
        DataError: it does not solve one of them either, and `when_none` is `fail`.
    """
    found = [shown async for shown in fallback.demonstrate(missing)]
    if options.when_none == "fail":
        solved = {shown.problem_id for shown in found if shown.correct}
        for problem in missing:
            if problem.id not in solved:
                raise unsolved(problem, options.attempts)
    return found if options.when_none == "show" else [shown for shown in found if shown.correct]
