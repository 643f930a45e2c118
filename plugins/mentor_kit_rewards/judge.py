"""The term `judge`: a teacher's model scores a trajectory by a rubric, beside the demonstration.

    rubric (the recipe's, or written by the teacher from the demonstration)
    demonstration, trajectory ──one question──> teacher ──verdict──> weighted mean of the criteria's scores

Any teacher can judge: each question is a problem, and this module's task reads the verdict from its answer.
(Rubrics from teacher-student differences: ROPD.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, TypeVar

from pydantic import ConfigDict, Field, field_validator

from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.component import Number, TeacherSpec, Whole
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, Interrupted, MentorKitError
from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.task import TRAIN, Problem, Task
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks import BuildContext
from mentor_kit.rl.reward import Case, Term
from mentor_kit.rollout import run_async
from mentor_kit_rewards import judging
from mentor_kit_rewards.comparison import reference_demonstrations

V = TypeVar("V")

#: A score in place of the judge's.
Score = Annotated[Number, Field(ge=0, le=1)]


class Criterion(OptionModel, FrozenModel):
    """A criterion of a rubric."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")
    """Its name: letters, digits, `_` and `-`."""
    text: str = Field(min_length=1)
    """The criterion as a sentence."""
    weight: Number = Field(default=1.0, gt=0)
    """Its weight in the mean."""


class JudgeOptions(OptionModel):
    """Options of the term `judge`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    teacher: TeacherSpec
    """The judge: any teacher with a model behind it (`openai`, `anthropic`, `local`)."""
    rubric: tuple[Criterion, ...] = ()
    """The rubric; if left out, the judge writes criteria for each problem from the demonstration."""
    criteria: Whole = Field(default=4, gt=0, le=20)
    """How many criteria the judge writes then."""
    show: tuple[Literal["results", "words", "reasoning"], ...] = ()
    """What the judge is shown beside calls, answer and verdict. Free content lets a student address the judge."""
    max_tokens: Whole = Field(default=1024, gt=0)
    """Tokens of a verdict, where the judge is a local model; servers have an option of their own."""
    longest: Whole = Field(default=8000, ge=judging.SHORTEST)
    """Characters of a trajectory that are shown: longer ones are cut, with a mark."""
    when_unreadable: Score = 0.0
    """The score where the judge's answer is no verdict or has no criteria."""
    when_unreachable: Literal["fail"] | Score = "fail"
    """The score where the judge cannot be reached; fail: the run ends with the reason, and can be resumed."""

    @field_validator("rubric")
    @classmethod
    def _names_differ(cls, rubric: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
        names = [criterion.name for criterion in rubric]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two criteria are called {twice!r}")
        return rubric


class JudgeTask(Task):
    """A task whose problems are a judge's questions; an answer is right if it can be parsed."""

    splits = (TRAIN,)

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        return ()

    def answer(self, trajectory: Trajectory) -> str | None:
        return trajectory.final_text if trajectory.ended else None

    def check(self, answer: str, problem: Problem) -> bool:
        return judging.is_readable(answer, problem)


class Judge(Term):
    """The term `judge`. The same content is judged once, however often it is scored."""

    def __init__(self, options: JudgeOptions, teacher: Teacher) -> None:
        self.options = options
        self.teacher = teacher
        self.costly = teacher.costly
        self._answers: dict[str, str | None] = {}
        """Final texts by question id; None where there was none."""
        self._unanswered: set[str] = set()
        """Ids of questions that the judge could not be asked at the last attempt."""

    def model_hosts(self) -> Sequence[object]:
        """Those of the teacher that judges."""
        return self.teacher.model_hosts()

    def prepare(self, cases: Sequence[Case]) -> None:
        """Request everything that scoring needs: all rubrics at once, then all verdicts at once.

        Raises:
            DataError: a problem has no demonstration that shows how it was solved.
            MentorKitError: the judge cannot be reached, and `when_unreachable` is fail.
        """
        self._unanswered.clear()
        shown = [self._teachers_work(problem, demonstrations) for _, problem, demonstrations in cases]
        if not self.options.rubric:
            self._ask(judging.rubric_question(text, self.options.criteria) for text in shown)
        asked = [self._question(case[0], text) for case, text in zip(cases, shown, strict=True)]
        self._ask(question for question in asked if question is not None)

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        """The weighted mean of the criteria's scores; errors as for `prepare`."""
        shown = self._teachers_work(problem, demonstrations)
        if not self._is_prepared(trajectory, shown):
            self.prepare([(trajectory, problem, demonstrations)])
        question = self._question(trajectory, shown) or judging.rubric_question(shown, self.options.criteria)
        if question.id not in self._answers:
            return 0.0 if self.options.when_unreachable == "fail" else self.options.when_unreachable
        scores = _read(self._answers[question.id], question, judging.read_verdict)
        if scores is None:
            return self.options.when_unreadable
        weights = self._weights(scores)
        return math.fsum(weights[name] * score for name, score in scores.items()) / math.fsum(weights.values())

    def _teachers_work(self, problem: Problem, demonstrations: Sequence[Demonstration]) -> str:
        """Return the first reference demonstration with a trajectory, as shown to the judge."""
        with_calls = [shown for shown in demonstrations if shown.trajectory is not None]
        trajectories = (shown.trajectory for shown in reference_demonstrations(problem, with_calls or demonstrations))
        trajectory = next((found for found in trajectories if found is not None), None)
        if trajectory is None:
            raise DataError(
                f"the judge compares with the teacher's calls, and no demonstration of problem {problem.id!r} has them",
                hint="the recording keeps names of tools alone: take a teacher that plays the problem",
            )
        return judging.work(trajectory, self.options.show, self.options.longest)

    def _question(self, trajectory: Trajectory, shown: str) -> Problem | None:
        """Return the question about a trajectory; None where there is no rubric."""
        criteria = self._criteria(shown)
        if criteria is None:
            return None
        student = judging.work(trajectory, self.options.show, self.options.longest)
        return judging.verdict_question(criteria, shown, student)

    def _criteria(self, shown: str) -> Mapping[str, str] | None:
        if self.options.rubric:
            return {criterion.name: criterion.text for criterion in self.options.rubric}
        question = judging.rubric_question(shown, self.options.criteria)
        return _read(self._answers.get(question.id), question, judging.read_rubric)

    def _weights(self, names: Iterable[str]) -> Mapping[str, float]:
        given = {criterion.name: criterion.weight for criterion in self.options.rubric}
        return {name: given.get(name, 1.0) for name in names}

    def _is_prepared(self, trajectory: Trajectory, shown: str) -> bool:
        """Return whether a question is answered, or cannot be asked now."""
        question = self._question(trajectory, shown)
        last = question or judging.rubric_question(shown, self.options.criteria)
        return last.id in self._answers or last.id in self._unanswered

    def _ask(self, questions: Iterable[Problem]) -> None:
        """Send the judge all questions that were not asked yet, at once."""
        wanted = {question.id: question for question in questions if question.id not in self._answers}
        if not wanted:
            return
        received: dict[str, str | None] = {}

        async def ask() -> None:
            async for answered in self.teacher.demonstrate(list(wanted.values())):
                if answered.trajectory is not None and (answered.correct or answered.problem_id not in received):
                    received[answered.problem_id] = answered.trajectory.final_text

        try:
            run_async(ask())
        except Interrupted:
            raise
        except MentorKitError:
            # a verdict that did not arrive is not kept: it is requested again
            self._answers.update(received)
            self._unanswered.update(wanted.keys() - received.keys())
            if self.options.when_unreachable == "fail":
                raise
        else:
            self._answers.update({name: received.get(name) for name in wanted})


def judge(options: JudgeOptions, context: BuildContext) -> Judge:
    """The term for a recipe. The judge has no tools and one turn."""
    tokens = options.max_tokens
    alone = replace(
        context,
        task=JudgeTask(),
        toolbox=Toolbox([]),
        limits=EpisodeLimits(max_turns=1, max_turn_tokens=tokens, max_response_tokens=tokens),
    )
    return Judge(options, context.registry.build("teachers", options.teacher, alone))


def _read(text: str | None, question: Problem, read: Callable[[str, Problem], V | None]) -> V | None:
    return None if text is None else read(text, question)
