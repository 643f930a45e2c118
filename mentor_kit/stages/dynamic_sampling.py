"""Dynamic sampling: groups whose rewards are all equal teach nothing, and are replaced by groups of fresh problems.

(DAPO, arXiv 2503.14476, section 3.2.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mentor_kit.rl.reward import Scored

#: Rewards of a group whose largest and smallest differ by less have no variance.
NO_VARIANCE = 1e-8


@dataclass
class Batch:
    """The groups of one step, filled in rounds: one, or more where zero-variance groups are replaced."""

    problems: int
    """Groups that the step takes, one a problem."""
    group: int
    """Rollouts of a group."""
    max_rounds: int = 1
    rollouts: list[Scored] = field(default_factory=list)
    """All rollouts so far, those of replaced groups included; those of a group are next to each other."""
    rounds: int = 0

    @property
    def missing(self) -> int:
        """How many problems the next round takes; 0 where there is none."""
        if self.rounds >= self.max_rounds:
            return 0
        return max(self.problems - len(self._sampled()) + self.zero_variance, 0)

    @property
    def zero_variance(self) -> int:
        """How many of all groups so far have no variance."""
        return sum(map(has_zero_variance, self._sampled()))

    def add(self, scored: Sequence[Scored]) -> None:
        """Add the rollouts of a round."""
        self.rollouts += scored
        self.rounds += 1

    def groups(self) -> list[list[Scored]]:
        """The groups to train on, in the order of sampling: `problems` of them.

        A zero-variance group that could not be replaced keeps its place, so that minibatches stay of equal size.
        """
        groups = self._sampled()
        surplus = len(groups) - self.problems
        kept = []
        for group in reversed(groups):
            if surplus > 0 and has_zero_variance(group):
                surplus -= 1
            else:
                kept.append(group)
        return kept[::-1]

    def with_advantages(self, advantages: NDArray[np.float64] | None) -> list[Scored]:
        """All rollouts, in their order, those to train on with their advantages.

        Args:
            advantages: of `groups()`, shape (problems, group); None where nothing is learned from rewards.
        """
        if advantages is None:
            return self.rollouts
        trained = (item for group in self.groups() for item in group)
        known = {id(item): float(value) for item, value in zip(trained, advantages.flat, strict=True)}
        return [
            item.model_copy(update={"advantage": known[id(item)]}) if id(item) in known else item
            for item in self.rollouts
        ]

    def _sampled(self) -> list[list[Scored]]:
        return [self.rollouts[start : start + self.group] for start in range(0, len(self.rollouts), self.group)]


def has_zero_variance(group: Sequence[Scored]) -> bool:
    """Whether the group's rewards are all equal, so that every advantage is 0."""
    totals = [item.reward.total for item in group]
    return max(totals) - min(totals) < NO_VARIANCE
