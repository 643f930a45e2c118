"""Adds up what one reward pays over a run, step by step."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from mentor_kit.report.rescore.result import EpisodeChange, RewardOutcome
from mentor_kit.stages.dynamic_sampling import NO_VARIANCE
from mentor_kit.utils.statistics import correlation

#: How many of the episodes that gain and lose most are kept of each reward.
KEPT = 20


@dataclass
class RewardTally:
    """What one reward pays for the episodes that were added."""

    name: str
    own: bool = False
    totals: list[float] = field(default_factory=list)
    correct: list[bool] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    """By step."""
    zero_variance: list[float] = field(default_factory=list)
    """By step, the share of its groups."""
    _groups: int = 0
    _equal: int = 0
    _compared: int = 0
    _opposite: int = 0
    _to_zero: int = 0
    _from_zero: int = 0
    _gained: list[EpisodeChange] = field(default_factory=list)
    _lost: list[EpisodeChange] = field(default_factory=list)

    def add(self, totals: Sequence[float], correct: Sequence[bool]) -> None:
        """Add the episodes of a step or evaluation."""
        self.totals += totals
        self.correct += correct
        self.means.append(sum(totals) / max(len(totals), 1))

    def add_groups(self, groups: Sequence[Sequence[float]]) -> None:
        """Count the zero-variance groups of a step, by their rewards."""
        equal = sum(max(group) - min(group) < NO_VARIANCE for group in groups)
        self._groups += len(groups)
        self._equal += equal
        self.zero_variance.append(equal / max(len(groups), 1))

    def compare(self, before: Sequence[float], after: Sequence[float]) -> None:
        """Compare the signs of advantages with the run's."""
        for early, late in zip(before, after, strict=True):
            was, now = _sign(early), _sign(late)
            self._compared += 1
            self._opposite += was * now < 0
            self._to_zero += was != 0 and now == 0
            self._from_zero += was == 0 and now != 0

    def changes(self, found: Sequence[EpisodeChange]) -> None:
        """Keep the episodes of a step or evaluation that gain and lose most, at most one a problem."""
        self._gained = _largest(self._gained, found, 1.0)
        self._lost = _largest(self._lost, found, -1.0)

    def outcome(self) -> RewardOutcome:
        """All that was added."""

        def of_compared(count: int) -> float | None:
            return count / self._compared if self._compared else None

        return RewardOutcome(
            name=self.name,
            own=self.own,
            episodes=len(self.totals),
            mean=sum(self.totals) / len(self.totals) if self.totals else None,
            groups=self._groups,
            zero_variance=self._equal / self._groups if self._groups else None,
            correlation=correlation(self.totals, [float(value) for value in self.correct]),
            compared=self._compared,
            sign_changed=of_compared(self._opposite),
            to_zero=of_compared(self._to_zero),
            from_zero=of_compared(self._from_zero),
            gained=tuple(self._gained),
            lost=tuple(self._lost),
        )


def _sign(advantage: float) -> int:
    """-1, 0 or 1; what is less than the rounding of equal rewards is 0."""
    return 0 if abs(advantage) < NO_VARIANCE else 1 if advantage > 0 else -1


def _largest(kept: Sequence[EpisodeChange], found: Sequence[EpisodeChange], sign: float) -> list[EpisodeChange]:
    """The episodes with the largest change in one direction, of several of a group the first; those kept come first."""

    def size(change: EpisodeChange) -> tuple[float, float]:
        push = (change.advantage_after or 0.0) - (change.advantage_before or 0.0)
        return sign * (change.after - change.before), sign * push

    best: dict[tuple[str, int, str, str], EpisodeChange] = {}
    for change in (*kept, *found):
        key = change.stage, change.step, change.evaluation, change.problem
        if sign * (change.after - change.before) > NO_VARIANCE and (key not in best or size(change) > size(best[key])):
            best[key] = change
    return heapq.nlargest(KEPT, best.values(), key=size)
