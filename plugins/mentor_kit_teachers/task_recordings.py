"""The teacher `recorded` without a file: the recorded solutions that the task itself has, as `conversations` does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.teacher import Teacher


class TaskRecordings(Teacher):
    """Demonstrations from the task's own recordings, with the task's verdict on each."""

    name = "recorded"
    costly = False

    def __init__(self, task: Task) -> None:
        self._task = task

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        from mentor_kit.rollout import judge  # the rollout is not light, and this module is imported with the options

        for problem in problems:
            for trajectory in self._task.recorded(problem):
                yield Demonstration.of(judge(trajectory, problem, self._task), teacher=self.name)
