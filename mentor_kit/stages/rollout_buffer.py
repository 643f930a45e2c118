"""The buffer between episodes and updates: groups that are under way or whole, until an update takes them.

    begin ──> a group, its episodes under way ──ended, one by one──> whole ──take──> an update

An update takes the oldest whole groups. A group that began after n steps may be trained on up to step n + 1 + k, with a
staleness of k: an update therefore takes no newer group as long as older ones could miss their last step by it. So
every group is trained on once, none is thrown away, and none is older than k steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory


@dataclass
class BufferedGroup:
    """The episodes of one problem."""

    number: int
    """Its place among all groups of the stage, from 0."""
    begun: int
    """How many steps were done when it began."""
    position: int
    """Its problem's place in the stream of problems."""
    problem: Problem
    episodes: list[Trajectory | None] = field(repr=False)
    """By index; None for those under way."""

    @property
    def whole(self) -> bool:
        """Whether all its episodes have ended."""
        return None not in self.episodes

    def trajectories(self) -> list[Trajectory]:
        """Its ended episodes."""
        return [trajectory for trajectory in self.episodes if trajectory is not None]


class _GroupRecord(FrozenModel):
    """A line of a buffer's file; the problem is found again by its position."""

    number: int
    begun: int
    position: int
    episodes: tuple[Trajectory | None, ...]


class RolloutBuffer:
    """Groups under way or whole, the oldest first.

    Args:
        staleness: how many steps the weights that began a group may be behind those that are trained on it.
        problems: groups that every step takes at least.
        size: episodes of a group.
    """

    def __init__(self, staleness: int, problems: int, size: int) -> None:
        self.groups: list[BufferedGroup] = []
        self.begun = 0
        """How many groups were begun so far, those taken included."""
        self._staleness, self._problems, self._size = staleness, problems, size

    def begin(self, position: int, problem: Problem, done: int) -> BufferedGroup:
        """A new group, of which no episode has ended.

        Args:
            position: of the problem in the stream.
            problem: what its episodes are about.
            done: how many steps are done.
        """
        group = BufferedGroup(self.begun, done, position, problem, [None] * self._size)
        self.begun += 1
        self.groups.append(group)
        return group

    def missing(self, count: int, steps_left: int) -> int:
        """How many groups to begin, for `count` to take now and as many more as may be begun ahead.

        Args:
            count: that a step is about to take.
            steps_left: steps after that one.
        """
        return max(count + min(self._staleness, steps_left) * self._problems - len(self.groups), 0)

    def under_way(self) -> Iterator[tuple[BufferedGroup, int]]:
        """The episodes that have not ended: their groups and indices."""
        for group in self.groups:
            for index, episode in enumerate(group.episodes):
                if episode is None:
                    yield group, index

    @property
    def whole(self) -> int:
        """How many groups are whole."""
        return sum(group.whole for group in self.groups)

    def ready(self, count: int, step: int) -> bool:
        """Whether step `step` can take `count` groups, so that all others can still be trained on in time."""
        taken, rest = self._split(count)
        if len(taken) < count:
            return False
        in_time = all(self._last_step(group) > step + place // self._problems for place, group in enumerate(rest))
        return in_time or self.whole == len(self.groups)

    def take(self, count: int) -> list[BufferedGroup]:
        """The oldest `count` whole groups, which leave the buffer; ask `ready` first."""
        taken, self.groups = self._split(count)
        return taken

    def to_lines(self) -> str:
        """The groups as lines of JSON, with every episode that has ended."""
        records = (
            _GroupRecord(number=g.number, begun=g.begun, position=g.position, episodes=tuple(g.episodes))
            for g in self.groups
        )
        return "".join(f"{record.to_json()}\n" for record in records)

    def restore(self, lines: Sequence[str], begun: int, problem_at: Callable[[int], Problem]) -> None:
        """Take the groups that `to_lines` wrote.

        Args:
            lines: of JSON.
            begun: how many groups were begun.
            problem_at: the problem at a position of the stream.

        Raises:
            pydantic.ValidationError: a line is none of a buffer.
        """
        records = [_GroupRecord.from_json(line) for line in lines]
        self.groups = [
            BufferedGroup(r.number, r.begun, r.position, problem_at(r.position), list(r.episodes)) for r in records
        ]
        self.begun = begun

    def _split(self, count: int) -> tuple[list[BufferedGroup], list[BufferedGroup]]:
        """The oldest `count` whole groups, or as many as there are, and all others."""
        taken = [group for group in self.groups if group.whole][:count]
        numbers = {group.number for group in taken}
        return taken, [group for group in self.groups if group.number not in numbers]

    def _last_step(self, group: BufferedGroup) -> int:
        """The last step that may train on a group."""
        return group.begun + 1 + self._staleness
