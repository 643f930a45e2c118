"""What a run has brought: its last evaluation against its first, on the same problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from mentor_kit.record import Json
from mentor_kit.report.tables import Sheet, percent, points, share
from mentor_kit.runs import Run
from mentor_kit.statistics import Difference, paired_difference

#: Position of each kind of playing in an evaluation's `outcomes`.
KINDS = ("greedy", "sampled")


@dataclass(frozen=True)
class Change:
    """Accuracy of one split, played in one way, before and after."""

    split: str
    kind: str
    """`greedy` or `sampled`."""
    before: float
    after: float
    difference: Difference
    """Paired by problem, with its 95 % interval."""
    similarity_before: float | None
    """Tool-use similarity to the teacher; None where the teacher showed nothing."""
    similarity_after: float | None


@dataclass(frozen=True)
class BeforeAfter:
    """The changes of all splits that were evaluated at least twice."""

    changes: tuple[Change, ...]

    @property
    def sheet(self) -> Sheet:
        """As a table of texts."""
        rows = [
            (
                change.split,
                change.kind,
                percent(change.before),
                percent(change.after),
                points(change.difference.mean),
                f"{points(change.difference.low)} to {points(change.difference.high)}",
                f"{share(change.similarity_before)} → {share(change.similarity_after)}",
                str(change.difference.count),
            )
            for change in self.changes
        ]
        heads = ("split", "played", "before", "after", "change", "95 % interval", "similarity to teacher", "problems")
        return Sheet("Accuracy before and after", heads, tuple(rows), left=2)

    def table(self) -> Table:
        """For a terminal."""
        return self.sheet.table()

    def text(self) -> str:
        """Plain lines."""
        return self.sheet.text()

    def to_json(self) -> list[dict[str, Json]]:
        """For programs."""
        return [asdict(change) for change in self.changes]


def before_after(run: Run) -> BeforeAfter:
    """The first and the last evaluation of every split, compared problem by problem.

    Only problems that both have played count, so that the two are comparable.
    """
    reports = run.evaluations
    changes = []
    for split in dict.fromkeys(str(report["split"]) for report in reports):
        of_split = [report for report in reports if report["split"] == split]
        if len(of_split) > 1:
            changes += _changes(split, of_split[0], of_split[-1])
    return BeforeAfter(tuple(changes))


def _changes(split: str, first: Mapping[str, Json], last: Mapping[str, Json]) -> list[Change]:
    changes = []
    for place, kind in enumerate(KINDS):
        early, late = outcomes_of(first, place), outcomes_of(last, place)
        both = [problem for problem in early if problem in late]
        before, after = [early[problem] for problem in both], [late[problem] for problem in both]
        if not both:
            continue
        name = "similarity" if kind == "greedy" else f"similarity_{kind}"
        changes.append(
            Change(
                split=split,
                kind=kind,
                before=sum(before) / len(before),
                after=sum(after) / len(after),
                difference=paired_difference(before, after),
                similarity_before=first.get(name),
                similarity_after=last.get(name),
            )
        )
    return changes


def outcomes_of(report: Mapping[str, Json], place: int) -> dict[str, float]:
    """Every problem's outcome in an evaluation, played in the way of that place in `KINDS`."""
    outcomes: Mapping[str, Sequence[float | None]] = report.get("outcomes") or {}
    values = {name: found[place] for name, found in outcomes.items() if len(found) > place}
    return {name: float(value) for name, value in values.items() if value is not None}
