"""The teacher `scripted`: runs the task's worked solution as an episode with the real tools."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mentor_kit.core.agent import Agent, EpisodeLimits, EpisodeRequest, Reply
from mentor_kit.core.conversation import Message, assistant
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import UsageError
from mentor_kit.core.task import NoSolution, Problem, Task
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import Ending, TokenTrace, Trajectory
from mentor_kit.hooks import BuildContext
from mentor_kit.rollout import run_episodes
from mentor_kit.utils.randomness import derive_seed

NAME = "scripted"
#: Number of problems without a playable solution that are named one by one.
_NAMED = 10

_log = logging.getLogger(__name__)


def scripted(context: BuildContext) -> ScriptedTeacher:
    """The teacher for a recipe.

    Raises:
        UsageError: the recipe's task cannot write worked solutions.
    """
    task = context.need_task()
    if not task.has_solutions:
        raise UsageError(
            f"the teacher {NAME!r} plays the task's worked solutions, and {type(task).__name__} has none (no `solve`)",
            hint="take another teacher, such as `{use: recorded, with: {path: demonstrations.jsonl}}`; "
            "rows have worked solutions in a column of calls, `columns: {calls: calls}`",
        )
    return ScriptedTeacher(task, context.need_toolbox(), context.limits, context.seed)


@dataclass(frozen=True)
class ScriptedTeacher(Teacher):
    """The teacher `scripted`: one demonstration a problem."""

    task: Task
    toolbox: Toolbox
    limits: EpisodeLimits
    seed: int
    name: str = NAME
    costly = False
    _left_out: set[str] = field(default_factory=set)
    """The ids of problems that were named in a warning."""

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        """As for every teacher; a problem whose worked solution cannot be played has none, and is named once."""
        for trajectory in await self.rollouts(problems, 1):
            if trajectory.ending is Ending.REFUSED:
                self._warn(trajectory)
            else:
                yield Demonstration.of(trajectory, teacher=self.name)

    async def rollouts(self, problems: Sequence[Problem], episodes: int) -> list[Trajectory]:
        """As for every teacher; all episodes of a problem are the same."""
        requests = [
            EpisodeRequest(
                id=f"{problem.id}#{self.name}{f'-{index}' if index else ''}",
                problem=problem,
                tools=self.toolbox.tools(problem),
                seed=derive_seed(self.seed, self.name, problem.id),
            )
            for problem in problems
            for index in range(episodes)
        ]
        return await run_episodes(
            ScriptedAgent(self.task, self.name), requests, task=self.task, toolbox=self.toolbox, limits=self.limits
        )

    @asynccontextmanager
    async def open_agent(self) -> AsyncIterator[Agent]:
        yield ScriptedAgent(self.task, self.name)

    @property
    def takes_questions(self) -> bool:
        return False

    def _warn(self, trajectory: Trajectory) -> None:
        if trajectory.problem_id in self._left_out:
            return
        self._left_out.add(trajectory.problem_id)
        if len(self._left_out) <= _NAMED:
            _log.warning("%s (left out)", trajectory.reason)
        elif len(self._left_out) == _NAMED + 1:
            _log.warning("more problems are left out: their worked solutions cannot be played")


@dataclass(frozen=True)
class ScriptedAgent:
    """A `mentor_kit.core.agent.Agent` that follows the task's worked solution."""

    task: Task
    name: str = NAME

    def start(self, episode: EpisodeRequest) -> ScriptedSession:
        return ScriptedSession(self.task, episode.problem)


class ScriptedSession:
    """One episode of a script."""

    def __init__(self, task: Task, problem: Problem) -> None:
        self._task = task
        self._problem = problem
        self._dialogue: tuple[Message, ...] = ()

    async def respond(self, messages: Sequence[Message]) -> Reply:
        self._dialogue += tuple(messages)
        try:
            turn = self._task.solve(self._problem, self._dialogue)
        except NoSolution as error:
            return Reply(assistant(), finish="refused", reason=str(error))
        self._dialogue += (turn,)
        return Reply(turn)

    def trace(self) -> TokenTrace | None:
        return None

    def close(self) -> None:
        """Do nothing: the session holds no resources."""
