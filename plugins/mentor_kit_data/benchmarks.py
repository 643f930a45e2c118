r"""The task `benchmarks`: known sets of questions from files as published, with a split for each.

| set | rows as published |
| --- | --- |
| aime24 | `problem`, `answer` (HuggingFaceH4/aime_2024), or `Problem`, `Answer` (Maxwell-Jia/AIME_2024) |
| aime25 | `problem` or `question`, `answer` (math-ai/aime25, opencompass/AIME2025) |
| amc23 | `problem` or `question`, `answer`, a number such as 27.0 (math-ai/amc23, AI-MO/aimo-validation-amc) |
| minerva | `problem`, `solution` whose last `\boxed{}` is the answer, or `question`, `answer` (math-ai/minervamath) |
| omni-math | `problem`, `answer`, `domain`, a list of paths, and `difficulty` (KbsdJames/Omni-MATH) |
| bamboogle | `Question`, `Answer` (its authors' table) |
| hotpotqa | `question`, `answer`, `type`, `level`, `context` (its authors' JSON, and hotpotqa/hotpot_qa) |
| 2wikimultihopqa | `question`, `answer`, `type`, `context`, `evidences` (its authors' JSON) |

Where a question has several right answers, `golden_answers` lists them (as in FlashRAG's files of all of these).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, field_validator

from mentor_kit.core.errors import DataError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.options import TaskOptions
from mentor_kit.core.task import TRAIN, Problem, Task, boxed_answer
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.runs.rows import BadRow, DataRow, hint_for, is_number, read_rows
from mentor_kit_data.checkers import checker
from mentor_kit_data.checking import Check, Checker, Checking
from mentor_kit_data.keys import KeyRule, keys_of
from mentor_kit_data.rows_task import Prompt, read_problems

_QUESTIONS = ("problem", "question", "Problem", "Question")
_ANSWERS = ("golden_answers", "answer", "Answer")
_IDS = ("_id", "id", "ID")


@dataclass(frozen=True)
class Published:
    """How a set's rows are read and its answers checked."""

    check: Literal["math", "phrase"]
    group: Callable[[Mapping[str, Json]], str] = lambda row: ""
    """The label of a row, by which evaluations break results down."""
    whole: bool = False
    """Whether every answer is a whole number from 0 to 999, published with or without leading zeros."""


def _field(row: Mapping[str, Json]) -> str:
    """Omni-MATH's field of a problem: the second step of its first path, such as `Algebra`."""
    paths = row.get("domain") or [""]
    steps = [step.strip() for step in str(paths[0] if isinstance(paths, list) else paths).split("->")]
    return steps[1] if len(steps) > 1 else steps[0]


def _type(row: Mapping[str, Json]) -> str:
    return str(row.get("type") or "")


SETS: Mapping[str, Published] = {
    "aime24": Published("math", whole=True),
    "aime25": Published("math", whole=True),
    "amc23": Published("math"),
    "minerva": Published("math"),
    "omni-math": Published("math", group=_field),
    "bamboogle": Published("phrase"),
    "hotpotqa": Published("phrase", group=_type),
    "2wikimultihopqa": Published("phrase", group=_type),
}


class BenchmarksOptions(TaskOptions):
    """Known sets, from local files."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    sets: dict[str, Path] = Field(min_length=1)
    """The file of each set, relative to the recipe's folder: JSONL, JSON, CSV, TSV or parquet. The sets' names are
    the splits: aime24, aime25, amc23, minerva, omni-math, bamboogle, hotpotqa, 2wikimultihopqa."""
    prompt: Prompt = "{question}"
    """The user's message: a string with `{question}` in it."""
    seconds: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """Time that comparing one mathematical answer may take; one that takes longer is wrong."""
    broken: Literal["fail", "skip"] = "fail"
    """fail: a broken row ends the run; skip: it is left out with a warning; either names its place."""

    @field_validator("sets")
    @classmethod
    def _are_known(cls, sets: dict[str, Path]) -> dict[str, Path]:
        for name in sets:
            if name not in SETS:
                raise ValueError(f"there is no set {name!r}{did_you_mean(name, SETS)}; known: {', '.join(SETS)}")
        return sets

    @property
    def task_splits(self) -> Sequence[str]:
        """The task's splits."""
        return (TRAIN, *self.sets)


def build(options: BenchmarksOptions, context: BuildContext) -> BenchmarksTask:
    """The task; its files are read now.

    Raises:
        DataError: a file cannot be read, has no rows, or a row is broken and `broken` is `fail`.
        MissingError: mathematics is to be compared, and mpmath is not installed.
    """
    found = {}
    for name, file in options.sets.items():
        make = partial(_problem, SETS[name], options.prompt)
        rows = read_rows(context.recipe_folder / file.expanduser())
        rule = KeyRule(Checking(check=_check(SETS[name].check, options.seconds)))
        found[name] = read_problems(rows, name, make, options.broken, rule)
        if not found[name]:
            raise DataError(f"the set {name!r} has no problems", hint=f"is {file} empty, or are all rows left out?")
    kinds = {SETS[name].check for name in found}
    checks = {kind: checker(_check(kind, options.seconds)) for kind in kinds}
    return BenchmarksTask(found, {name: checks[SETS[name].check] for name in found})


def _check(kind: Literal["math", "phrase"], seconds: float) -> Check:
    return Check(use="math", seconds=seconds) if kind == "math" else Check(use="phrase")


def _problem(published: Published, prompt: str, row: DataRow, split: str) -> Problem:
    if isinstance(row.values, BadRow):
        raise row.values
    values = row.values
    question = row.text(_first(values, _QUESTIONS))
    keys = _keys(row, values, published)
    name = next((str(values[column]) for column in _IDS if values.get(column) not in (None, "")), str(row.number))
    return Problem(
        id=f"{split}/{name}",
        question=prompt.replace("{question}", question),
        answer=keys[0],
        split=split,
        group=published.group(values),
        extra={"keys": keys},
    )


def _keys(row: DataRow, values: Mapping[str, Json], published: Published) -> list[str]:
    """The right answers, at least one."""
    column = next((name for name in _ANSWERS if values.get(name) not in (None, "", [])), None)
    if column is None and isinstance(values.get("solution"), str):
        return [_last_box(values["solution"])]
    if column is None:
        raise BadRow("answer", f"there is none of {', '.join(_ANSWERS)}; the row has {', '.join(map(str, values))}")
    found = values[column]
    keys = []
    for key in found if isinstance(found, list) else [found]:
        if not is_number(key) and not (isinstance(key, str) and key.strip()):
            raise BadRow(column, f"expected an answer, found {found!r}", hint_for(column, found))
        keys.append(str(key).strip())
    return [key.lstrip("0") or "0" for key in keys] if published.whole else keys


def _last_box(solution: str) -> str:
    start = solution.rfind("\\boxed")
    answer = boxed_answer(solution[start:]) if start >= 0 else None
    if answer is None:
        raise BadRow("solution", "expected an answer in a last \\boxed{}, and the row has no other")
    return answer


def _first(values: Mapping[str, Json], names: Sequence[str]) -> str:
    found = next((name for name in names if name in values), None)
    if found is None:
        raise BadRow(names[0], f"there is none of {', '.join(names)}; the row has {', '.join(map(str, values))}")
    return found


class BenchmarksTask(Task):
    """A task of several sets, each compared in its own way. Answers are boxed."""

    def __init__(self, problems: Mapping[str, Sequence[Problem]], checkers: Mapping[str, Checker]) -> None:
        # there is nothing to train on: these are benchmarks
        self.splits = (TRAIN, *problems)
        self._problems = problems
        self._checkers = checkers

    def close(self) -> None:
        """End the checkers' workers, where they have one."""
        for one in self._checkers.values():
            one.close()

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        return self._problems.get(split, ())[:count]

    def answer(self, trajectory: Trajectory) -> str | None:
        return boxed_answer(trajectory.final_text)

    def check(self, answer: str, problem: Problem) -> bool:
        checker = self._checkers[problem.split]
        return any(checker.check(answer, key, question=problem.question) for key in keys_of(problem))
