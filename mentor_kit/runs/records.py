"""Reads files with a record a line: demonstrations, and scored trajectories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.rl.reward import Scored
from mentor_kit.runs.jsonl import read_lines

R = TypeVar("R", bound=FrozenModel)


def read_demonstrations(path: Path) -> list[Demonstration]:
    """The demonstrations in a file; none if there is no file. A half-written last line is ignored.

    Raises:
        DataError: a line is not a demonstration.
    """
    return list(read_records(path, Demonstration))


def read_scored(path: Path) -> list[Scored]:
    """The scored trajectories in a file of rollouts or of an evaluation.

    Raises:
        DataError: a line is not a scored trajectory.
    """
    return list(read_records(path, Scored))


def read_records(path: Path, kind: type[R]) -> Iterator[R]:
    """The records in a file, one a line; none if there is no file. A half-written last line is ignored.

    Raises:
        DataError: a line is not such a record.
    """
    for number, line in enumerate(read_lines(path), start=1):
        try:
            yield kind.from_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise DataError(f"{path}:{number}: not a {kind.__name__.lower()}: {place}: {first['msg']}") from None
