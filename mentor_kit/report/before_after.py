"""Compares a run's last evaluation with its first, on the same problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from mentor_kit.core.frozen_model import Json
from mentor_kit.report.arms import own_reports, placed_reports, plan_of, training_steps
from mentor_kit.report.tables import Sheet, percent, points, share
from mentor_kit.runs import Run
from mentor_kit.utils.statistics import Difference, paired_difference

#: Ways of decoding, at their positions in an evaluation's `outcomes`.
KINDS = ("greedy", "sampled")


@dataclass(frozen=True)
class AccuracyChange:
    """Accuracy on one split, with one way of decoding, before and after training."""

    split: str
    """The evaluation's name: its split, with a number where several are of one."""
    kind: str
    """`greedy` or `sampled`."""
    before_step: int
    """Training steps before the first evaluation, over all stages: 0 is before training."""
    after_step: int
    """The same of the last one."""
    before: float
    after: float
    difference: Difference
    """Paired by problem, with its 95 % interval."""
    similarity_before: float | None
    """Tool-use similarity to the teacher; None without demonstrations."""
    similarity_after: float | None


@dataclass(frozen=True)
class BeforeAfter:
    """The changes in all evaluations that were made at least twice: from the first to the last."""

    changes: tuple[AccuracyChange, ...]
    steps: int
    """Training steps of the run so far, over all stages."""

    @property
    def sheet(self) -> Sheet:
        """The changes as a table.

        An evaluation is called "before" only if it was made before any training, and "after" only after the last step.
        """
        early = _head({change.before_step for change in self.changes}, {0: "before"})
        late = _head({change.after_step for change in self.changes}, {self.steps: "after"})
        rows = [
            (
                change.split,
                change.kind,
                _at(change.before, change.before_step if early == STEP else None),
                _at(change.after, change.after_step if late == STEP else None),
                points(change.difference.mean),
                f"{points(change.difference.low)} to {points(change.difference.high)}",
                f"{share(change.similarity_before)}→{share(change.similarity_after)}",
                str(change.difference.count),
            )
            for change in self.changes
        ]
        heads = ("split", "decoding", early, late, "change", "95 % interval", "similarity", "n")
        when = [f"at {head}" if head.startswith(f"{STEP} ") else head for head in (early, late)]
        title = f"Accuracy {' and '.join(when)}" if STEP not in when else "Accuracy of the first and last evaluation"
        return Sheet(f"{title}, on the same n problems", heads, tuple(rows), left=2)

    def table(self) -> Table:
        """The changes as a table of rich, for a terminal."""
        return self.sheet.table()

    def text(self, width: int | None = None) -> str:
        """The changes as plain lines of at most `width` columns."""
        return self.sheet.text(width)

    def to_json(self) -> list[dict[str, Json]]:
        """The changes as JSON."""
        return [asdict(change) for change in self.changes]


def before_after(run: Run) -> BeforeAfter:
    """The first and the last evaluation of every name, compared problem by problem.

    Only problems that are in both count, so that the two are comparable; and only evaluations of the student.
    """
    reports = own_reports(run, placed_reports(run))
    changes = []
    for name in dict.fromkeys(map(plan_of, reports)):
        of_name = [report for report in reports if plan_of(report) == name]
        if len(of_name) > 1:
            changes += _changes(name, of_name[0], of_name[-1])
    return BeforeAfter(tuple(changes), training_steps(run))


#: The head of a column with evaluations of different steps.
STEP = "step"


def _head(steps: set[int], names: Mapping[int, str]) -> str:
    """The head of a column: a name, or the step of all evaluations in it."""
    if len(steps) != 1:
        return STEP
    (step,) = steps
    return names.get(step, f"{STEP} {step}")


def _at(value: float, step: int | None) -> str:
    return percent(value) if step is None else f"{percent(value)} at {step}"


def _changes(split: str, first: Mapping[str, Json], last: Mapping[str, Json]) -> list[AccuracyChange]:
    changes = []
    for place, kind in enumerate(KINDS):
        early, late = outcomes_of(first, place), outcomes_of(last, place)
        both = [problem for problem in early if problem in late]
        before, after = [early[problem] for problem in both], [late[problem] for problem in both]
        if not both:
            continue
        name = "similarity" if kind == "greedy" else f"similarity_{kind}"
        changes.append(
            AccuracyChange(
                split=split,
                kind=kind,
                before_step=int(first["at"]),
                after_step=int(last["at"]),
                before=sum(before) / len(before),
                after=sum(after) / len(after),
                difference=paired_difference(before, after),
                similarity_before=first.get(name),
                similarity_after=last.get(name),
            )
        )
    return changes


def outcomes_of(report: Mapping[str, Json], place: int) -> dict[str, float]:
    """Every problem's outcome in an evaluation, with the way of decoding at that place in `KINDS`."""
    outcomes: Mapping[str, Sequence[float | None]] = report.get("outcomes") or {}
    values = {name: found[place] for name, found in outcomes.items() if len(found) > place}
    return {name: float(value) for name, value in values.items() if value is not None}
