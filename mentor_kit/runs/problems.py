"""The problems of a run: every one that rollouts or evaluations are about, once, in `problems.jsonl`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mentor_kit.core.frozen_model import FrozenModel, Json
from mentor_kit.core.task import Problem
from mentor_kit.runs.jsonl import JsonlFile
from mentor_kit.runs.records import read_records


class RecordedProblem(FrozenModel):
    """A problem as a reader of a run needs it: a line of `problems.jsonl`."""

    id: str
    question: str
    key: str | None = None
    """The answer key; None where the task gives none."""
    split: str = ""
    """The split that it is of."""
    group: str = ""
    """A finer label inside the split; empty for none."""
    system: str = ""
    """Its system message, the recipe's where it has none of its own; empty for none."""
    tools: tuple[dict[str, Json], ...] = ()
    """Its own tools, beside the recipe's, as JSON schemas in the form that chat templates take; mostly none."""

    @staticmethod
    def of(problem: Problem) -> RecordedProblem:
        """The record of a problem."""
        return RecordedProblem(
            id=problem.id,
            question=problem.question,
            key=problem.answer or None,
            split=problem.split,
            group=problem.group,
            system=problem.system,
            tools=tuple(tool.schema for tool in problem.declared_tools()),
        )


class ProblemLog(JsonlFile):
    """`problems.jsonl`, open for writing; a problem that is in it is not written again."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._known = set(read_problems(path))

    def write(self, problems: Iterable[Problem]) -> None:
        """Append those of the problems that are not in the file."""
        fresh = {problem.id: problem for problem in problems if problem.id not in self._known}
        if fresh:
            self.append([RecordedProblem.of(problem).to_json() for problem in fresh.values()])
            self._known |= fresh.keys()

    def truncate(self, offset: int) -> None:
        """Remove everything after the first `offset` bytes."""
        super().truncate(offset)
        self._known = set(read_problems(self.path))


def read_problems(path: Path) -> dict[str, RecordedProblem]:
    """The problems in a file by id, in its order; none where there is no file.

    Raises:
        DataError: a line is not a problem.
    """
    return {problem.id: problem for problem in read_records(path, RecordedProblem)}
