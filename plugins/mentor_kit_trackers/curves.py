"""Curves of a run: which numbers of an event are tracked, under which names and at which step.

    step        0-grpo, step 3, reward/correct          grpo/reward/correct at step 3
    evaluation  0-grpo, step 10, in-domain, greedy …    grpo/evaluation/in-domain/greedy/accuracy at step 10
    collected   0-collect                               collect/collected/problems at step 0

A stage is called by its kind, so that runs with other stages beside it can be compared; where a run has a kind twice,
its stages are called by their keys (`0-grpo`, `2-grpo`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from mentor_kit.core.event import CHECKPOINT, DIAGNOSIS, NOTE, Event
from mentor_kit.core.frozen_model import Json

#: Values that are no metrics: a stage's number of steps, and who was evaluated.
_NO_METRICS = ("steps", "agent")


@dataclass(frozen=True)
class Point:
    """The numbers of one event."""

    series: str
    """What they belong to, such as `grpo` or `grpo/evaluation/in-domain`; its steps only grow."""
    step: int
    """The stage's step."""
    time: float
    """Seconds since 1970."""
    values: Mapping[str, float]
    """Finite numbers by whole name, such as `grpo/reward/correct`."""


def stage_names(stages: Sequence[str]) -> dict[str, str]:
    """The names of stages in metrics, by key.

    Args:
        stages: the keys of a run's stages, such as `0-sft`.
    """
    kinds = {key: key.partition("-")[2] or key for key in stages}
    return {key: kind if list(kinds.values()).count(kind) == 1 else key for key, kind in kinds.items()}


def series_of(event: Event, names: Mapping[str, str]) -> str:
    """The series that an event's numbers belong to; empty where they are no metrics."""
    if not event.stage or event.kind in (CHECKPOINT, DIAGNOSIS, NOTE):
        return ""
    stage = names.get(event.stage, event.stage)
    if event.kind == "step":
        return stage
    if event.kind == "evaluation":
        return f"{stage}/evaluation/{event.values.get('plan') or event.values.get('split') or 'all'}"
    return f"{stage}/{event.kind}"


def point_of(event: Event, names: Mapping[str, str], exclude: Sequence[str] = ()) -> Point | None:
    """The numbers of an event that are tracked; None where it has none.

    Args:
        event: any.
        names: of stages, by key (`stage_names`).
        exclude: patterns of the metrics that are left out.
    """
    series = series_of(event, names)
    found = {f"{series}/{name}": number for name, number in _numbers(event.values)}
    kept = {name: number for name, number in found.items() if not any(fnmatchcase(name, each) for each in exclude)}
    if not series or not kept:
        return None
    return Point(series, event.step or 0, seconds(event), kept)


def seconds(event: Event) -> float:
    """The time of an event in seconds since 1970."""
    return datetime.fromisoformat(event.time).timestamp()


def _numbers(values: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The finite numbers of an event's values, those of nested ones joined by slashes; false is 0 and true 1."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            if prefix or key not in _NO_METRICS:
                yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and math.isfinite(value) and (prefix or key not in _NO_METRICS):
            yield f"{prefix}{key}", float(value)
