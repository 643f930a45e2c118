"""The teacher `recorded`: demonstrations from a file, matched to problems by id, else by question; or the task's own.

Whether they are right is the task's verdict, by its present key and check, not the file's.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import ConfigDict

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks import BuildContext
from mentor_kit.hooks.references import path_fault
from mentor_kit_teachers.records import Recording, read_recordings
from mentor_kit_teachers.task_recordings import TaskRecordings

_log = logging.getLogger(__name__)

#: Unused recordings that are named with their place.
_PLACES_NAMED = 3


class RecordedOptions(OptionModel):
    """Options of the teacher `recorded`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path | None = None
    """demonstrations.jsonl, a run folder that has one, or a parquet file in the MENTOR authors' format;
    relative to the recipe's folder. null for the recorded solutions of the task, such as `conversations`."""


def look_at_recorded(options: RecordedOptions, context: BuildContext) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Whether the file, or the run folder, is there."""
    if options.path is not None and (fault := path_fault(options.path, context.recipe_folder)):
        yield ("path",), fault


def recorded(options: RecordedOptions, context: BuildContext) -> Teacher:
    """The teacher for a recipe; the file is read now, so that its faults show before a model is loaded.

    Raises:
        UsageError: no file is named, and the task has no recordings.
        DataError: the file is missing, or a row is broken.
        MissingError: the file is parquet, and pyarrow is not installed.
    """
    if options.path is not None:
        return RecordedTeacher(read_recordings(context.recipe_folder / options.path.expanduser()), context.task)
    task = context.need_task()
    if not task.has_recordings:
        raise UsageError(
            "the teacher `recorded` has no file, and the task has no recorded solutions of its own",
            hint="name the file of demonstrations: `teacher: {use: recorded, with: {path: demonstrations.jsonl}}`",
        )
    return TaskRecordings(task)


class RecordedTeacher(Teacher):
    """The teacher `recorded`: all recordings of a problem, in the order of the file."""

    name = "recorded"
    costly = False

    def __init__(self, recordings: Iterable[Recording], task: Task | None = None) -> None:
        self._task = task
        self._by_id: dict[str, list[Recording]] = defaultdict(list)
        self._by_question: dict[str, list[Recording]] = defaultdict(list)
        self._judged = self._now_right = self._now_wrong = 0
        self._recordings = tuple(recordings)
        for recording in self._recordings:
            self._by_id[recording.demonstration.problem_id].append(recording)
            if recording.question is not None:
                self._by_question[_squeezed(recording.question)].append(recording)

    def account(self) -> dict[str, Json]:
        """Counts of recordings that were judged again, and of verdicts that differ from the file's."""
        changed = {"now_right": self._now_right, "now_wrong": self._now_wrong}
        return {"judged_anew": self._judged, **{name: count for name, count in changed.items() if count}}

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        """Raises `DataError` where a problem's id is recorded for another question only."""
        before = self._now_wrong, self._now_right
        for problem in problems:
            for recording in self._of(problem):
                yield self._verified(_for_problem(recording.demonstration, problem).about(problem), problem)
        now_wrong, now_right = self._now_wrong - before[0], self._now_right - before[1]
        if now_wrong or now_right:
            _log.warning(
                "recorded demonstrations, judged by the task as it is now: %d that were right are wrong, "
                "%d that were wrong are right",
                now_wrong,
                now_right,
            )

    def unasked(self, problems: Sequence[Problem]) -> str | None:
        """How many recordings are of none of the problems, and where the first of them are."""
        reached = {id(recording) for problem in problems for recording in self._fitting(problem)}
        places = [recording.place for recording in self._recordings if id(recording) not in reached]
        if not places:
            return None
        more = ", ..." if len(places) > _PLACES_NAMED else ""
        return (
            f"{len(places)} of {len(self._recordings)} recorded demonstrations are of none of the stage's "
            f"{len(problems)} problems ({', '.join(places[:_PLACES_NAMED])}{more})"
        )

    def _verified(self, shown: Demonstration, problem: Problem) -> Demonstration:
        """The demonstration with the task's verdict of now; as it is where it has no dialogue to judge."""
        if self._task is None or shown.trajectory is None:
            return shown
        judged = _judge(shown.trajectory, problem, self._task)
        self._judged += 1
        if judged.correct == shown.correct:
            return shown.model_copy(update={"trajectory": judged})
        self._now_right += judged.correct
        self._now_wrong += not judged.correct
        provenance = {**shown.provenance, "recorded_as": "right" if shown.correct else "wrong"}
        return shown.model_copy(update={"trajectory": judged, "correct": judged.correct, "provenance": provenance})

    def _of(self, problem: Problem) -> list[Recording]:
        same_id, found = self._by_id.get(problem.id, []), self._fitting(problem)
        if same_id and not found:
            raise DataError(
                f"{same_id[0].place}: problem {problem.id!r} is recorded with another question than the task's",
                hint="the recording is of another task, or of other options of this one: record it again",
            )
        return found

    def _fitting(self, problem: Problem) -> list[Recording]:
        question = _squeezed(problem.question)
        same_id = self._by_id.get(problem.id, [])
        fitting = [found for found in same_id if found.question is None or _squeezed(found.question) == question]
        return fitting or self._by_question.get(question, [])


def _judge(trajectory: Trajectory, problem: Problem, task: Task) -> Trajectory:
    """Return the trajectory with the task's verdict; on its recorded answer where the last turn has none."""
    from mentor_kit.rollout import is_right, judge  # the rollout is not light, and options are read from this module

    answer = trajectory.answer
    judged = judge(trajectory.model_copy(update={"answer": None, "correct": False}), problem, task)
    if judged.answer is not None or answer is None or trajectory.final_text or not trajectory.ended:
        return judged
    return judged.model_copy(update={"answer": answer, "correct": is_right(answer, problem, task)})


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
