"""Accuracy before training and of an exported student, from its run's evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mentor_kit.core.frozen_model import Json
from mentor_kit.report.arms import Report, own_reports, placed_reports, plan_of, training_steps
from mentor_kit.report.before_after import KINDS, outcomes_of
from mentor_kit.runs import Run
from mentor_kit.utils.statistics import Difference, paired_difference


@dataclass(frozen=True)
class MeasuredAccuracy:
    """Accuracy of one evaluation with its 95 % interval, shares in [0, 1]."""

    accuracy: float
    low: float
    high: float
    problems: int
    step: int
    """Training steps before it, over all stages."""


@dataclass(frozen=True)
class AccuracyResult:
    """Accuracy on one split with one way of decoding."""

    plan: str
    """The evaluation's name: its split, with a number where several are of one."""
    kind: str
    """`greedy` or `sampled`."""
    before: MeasuredAccuracy | None
    """Before training; None where the run has not evaluated it then."""
    after: MeasuredAccuracy
    """The last evaluation up to the exported weights."""
    difference: Difference | None
    """Paired by problem; None where there is nothing before, or no problem in both."""


def results_of(run: Run, steps: int | None = None) -> tuple[AccuracyResult, ...]:
    """The results of a run's student after a number of training steps over all stages, or after all of them.

    Raises:
        DataError: an evaluation cannot be read.
    """
    last = training_steps(run) if steps is None else steps
    reports = [report for report in own_reports(run, placed_reports(run)) if int(report["at"]) <= last]
    found = []
    for plan in dict.fromkeys(map(plan_of, reports)):
        of_plan = [report for report in reports if plan_of(report) == plan]
        for place, kind in enumerate(KINDS):
            if (result := _result(plan, kind, place, of_plan)) is not None:
                found.append(result)
    return tuple(found)


def _result(plan: str, kind: str, place: int, reports: list[Report]) -> AccuracyResult | None:
    early, late = reports[0], reports[-1]
    after = _measured(late, kind)
    if after is None:
        return None
    before = _measured(early, kind) if int(early["at"]) == 0 and early is not late else None
    if before is None:
        return AccuracyResult(plan, kind, None, after, None)
    first, last = outcomes_of(early, place), outcomes_of(late, place)
    both = [problem for problem in first if problem in last]
    difference = paired_difference([first[name] for name in both], [last[name] for name in both]) if both else None
    return AccuracyResult(plan, kind, before, after, difference)


def _measured(report: Mapping[str, Json], kind: str) -> MeasuredAccuracy | None:
    found = report.get(kind)
    if not found or found.get("accuracy") is None:
        return None
    return MeasuredAccuracy(
        accuracy=float(found["accuracy"]),
        low=float(found["low"]),
        high=float(found["high"]),
        problems=int(report["problems"]),
        step=int(report["at"]),
    )
