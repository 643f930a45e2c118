"""Base class of writers, which put a run's curves and rollouts into a tracker by its own library.

A writer lives in the tracker's process: it may wait, print and raise. What it raises switches the tracker off.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.tracker import Outcome
from mentor_kit_trackers.curves import Point
from mentor_kit_trackers.options import TrackerOptions
from mentor_kit_trackers.rollouts import TrackedRollout

OptionsT = TypeVar("OptionsT", bound=TrackerOptions)

#: How urgent a message is.
Level = Literal["info", "warning"]


@dataclass(frozen=True)
class RunInfo:
    """The run that a writer writes."""

    name: str
    """The recipe's name."""
    id: str
    folder: Path
    recipe: Mapping[str, Json]
    stages: tuple[str, ...]
    process: int
    """The id of the process that trains."""


class Writer(ABC, Generic[OptionsT]):
    """Base class of writers.

    Args:
        options: the tracker's.
        run: the run.
        note: records a line in the run, such as where the tracker shows it.
    """

    OPTIONS: ClassVar[type[TrackerOptions]]
    """The class of its options."""
    ENVIRONMENT: ClassVar[Mapping[str, str]] = {}
    """Variables that are set before the library is imported, unless the user has set them."""

    def __init__(self, options: OptionsT, run: RunInfo, note: Callable[[str], None]) -> None:
        self.options = options
        self.run = run
        self.note = note

    def load(self) -> None:
        """Import the library, with what it reads from the environment; called before `open`.

        An import may take a minute on a slow disk, which is not held against the server.
        """

    @abstractmethod
    def open(self) -> bool:
        """Begin or continue the run.

        Returns:
            whether the tracker still has what earlier processes wrote of the run. If not, because it never had it, has
            lost it, or because `open` removed it to write it anew, the run is sent from its beginning.
        """

    @abstractmethod
    def point(self, point: Point) -> None:
        """Write the numbers of an event."""

    def rollouts(self, series: str, step: int, rollouts: Sequence[TrackedRollout]) -> None:
        """Write rollouts of a step, or episodes of an evaluation.

        Args:
            series: what they belong to, such as `grpo` or `grpo/evaluation/in-domain`.
            step: the stage's step.
            rollouts: at least one.
        """

    def message(self, title: str, text: str, step: int | None, time: float, level: Level) -> None:
        """Write a diagnosis or note of the run.

        Args:
            title: the condition, or `note`.
            text: one line.
            step: the stage's step, if it belongs to one.
            time: seconds since 1970.
            level: `warning` for a diagnosis.
        """

    def replayed(self) -> None:
        """Called once everything that the run had before this process is written."""

    @abstractmethod
    def close(self, outcome: Outcome) -> None:
        """End the run, with everything written."""


def set_secret(name: str, value: Any) -> None:
    """Set a variable that a library reads its secret from, where the recipe has one."""
    if value is not None:
        os.environ[name] = str(value)
