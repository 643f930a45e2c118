"""Differences between arms, paired by seed and problem: what one way of training gains over another.

Two arms with the same seeds and problems differ by what training did, and share what makes a problem hard. So their
difference is known better than either accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mentor_kit.core.errors import UsageError, did_you_mean
from mentor_kit.report.arms import Arm, splits_of
from mentor_kit.report.before_after import KINDS, outcomes_of
from mentor_kit.report.tables import Sheet, points
from mentor_kit.utils.crossed import crossed_difference
from mentor_kit.utils.statistics import Difference

#: How differences are computed, below a table.
METHOD = (
    "Difference in percentage points, paired by seed and problem, with its 95 % interval over both: a mixed model with "
    "crossed random effects of seeds and problems, by an analysis of variance and Satterthwaite's degrees of freedom. "
    "With one seed it is over problems alone, and says nothing of other seeds."
)


@dataclass(frozen=True)
class ArmDifference:
    """What an arm's accuracy has over another's, on one split with one way of decoding."""

    label: str
    against: str
    split: str
    kind: str
    """`greedy` or `sampled`."""
    seeds: tuple[int, ...]
    """Those that both arms have."""
    problems: int
    """Those that all of their evaluations have."""
    difference: Difference

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval says that there is a difference."""
        return self.difference.low > 0 or self.difference.high < 0


def differences(arms: Sequence[Arm], against: str | None = None) -> Iterator[ArmDifference]:
    """Yield the differences of all other arms to one, by their last evaluations.

    Args:
        arms: as `collect_arms` gives them.
        against: the label or the name of the arm that the others are compared with; the first one if left out.

    Raises:
        UsageError: there is no such arm.
    """
    base = _named(arms, against)
    for split in splits_of(arms):
        for arm in arms:
            if arm is not base:
                yield from _on_split(arm, base, split)


def sheet(found: Sequence[ArmDifference]) -> Sheet:
    """The differences as a table."""
    heads = ("split", "arm", "against", "decoding", "seeds", "problems", "difference", "95 % interval", "excludes 0")
    rows = [
        (
            each.split,
            each.label,
            each.against,
            each.kind,
            str(len(each.seeds)),
            str(each.problems),
            points(each.difference.mean),
            f"{points(each.difference.low)} to {points(each.difference.high)}",
            "yes" if each.excludes_zero else "no",
        )
        for each in found
    ]
    return Sheet("Differences, paired by seed and problem", heads, tuple(rows), left=4)


def _named(arms: Sequence[Arm], name: str | None) -> Arm:
    if name is None:
        return arms[0]
    for arm in arms:
        if name in (arm.label, arm.name):
            return arm
    labels = [arm.label for arm in arms]
    raise UsageError(f"there is no arm {name!r}{did_you_mean(name, labels)}", hint=f"arms: {', '.join(labels)}")


def _on_split(arm: Arm, base: Arm, split: str) -> Iterator[ArmDifference]:
    last = [{run.seed: report for run in each.runs if (report := run.last(split))} for each in (arm, base)]
    seeds = tuple(seed for seed in last[0] if seed in last[1])
    for place, kind in enumerate(KINDS):
        pairs = [(outcomes_of(last[0][seed], place), outcomes_of(last[1][seed], place)) for seed in seeds]
        problems = _shared([outcomes for pair in pairs for outcomes in pair])
        if problems:
            table = [[ours[name] - theirs[name] for name in problems] for ours, theirs in pairs]
            difference = crossed_difference(table)
            yield ArmDifference(arm.label, base.label, split, kind, seeds, len(problems), difference)


def _shared(outcomes: Sequence[Mapping[str, float]]) -> list[str]:
    """The problems that are in all of them, in order."""
    return [name for name in outcomes[0] if all(name in other for other in outcomes)] if outcomes else []
