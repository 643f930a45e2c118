"""The teacher `recorded`: demonstrations from a file, matched to the task's problems by id, else by question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mentor_kit.demonstration import Demonstration
from mentor_kit.errors import DataError
from mentor_kit.hooks import BuildContext
from mentor_kit.hooks.looking import path_fault
from mentor_kit.task import Problem
from mentor_kit_teachers.records import Recording, read_recordings


class RecordedOptions(BaseModel):
    """Where the demonstrations are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    """demonstrations.jsonl, a run folder that has one, or a parquet file in the MENTOR authors' format;
    relative to the recipe's folder."""


def look_at_recorded(options: RecordedOptions, context: BuildContext) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Whether the file, or the run folder, is there."""
    if fault := path_fault(options.path, context.recipe_folder):
        yield ("path",), fault


def recorded(options: RecordedOptions, context: BuildContext) -> RecordedTeacher:
    """The teacher for a recipe; the file is read now, so that its faults show before a model is loaded.

    Raises:
        DataError: the file is missing, or a row is broken.
        MissingError: the file is parquet, and pyarrow is not installed.
    """
    return RecordedTeacher(read_recordings(context.recipe_folder / options.path.expanduser()))


class RecordedTeacher:
    """A `mentor_kit.demonstration.Teacher`: all recordings of a problem, in the order of the file."""

    name = "recorded"

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._by_id: dict[str, list[Recording]] = defaultdict(list)
        self._by_question: dict[str, list[Recording]] = defaultdict(list)
        for recording in recordings:
            self._by_id[recording.demonstration.problem_id].append(recording)
            if recording.question is not None:
                self._by_question[_squeezed(recording.question)].append(recording)

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        """Raises `DataError` where a problem's id is recorded for another question only."""
        for problem in problems:
            for recording in self._of(problem):
                yield _for_problem(recording.demonstration, problem)

    def _of(self, problem: Problem) -> list[Recording]:
        question = _squeezed(problem.question)
        same_id = self._by_id.get(problem.id, [])
        fitting = [found for found in same_id if found.question is None or _squeezed(found.question) == question]
        found = fitting or self._by_question.get(question, [])
        if same_id and not found:
            raise DataError(
                f"{same_id[0].place}: problem {problem.id!r} is recorded with another question than the task's",
                hint="the recording is of another task, or of other options of this one: record it again",
            )
        return found


def _for_problem(demonstration: Demonstration, problem: Problem) -> Demonstration:
    if demonstration.problem_id == problem.id:
        return demonstration
    trajectory = demonstration.trajectory
    if trajectory is not None:
        trajectory = trajectory.model_copy(update={"problem_id": problem.id})
    return demonstration.model_copy(update={"problem_id": problem.id, "trajectory": trajectory})


def _squeezed(text: str) -> str:
    """The text with every run of white space as one space: files differ in line ends and indents."""
    return " ".join(text.split())
