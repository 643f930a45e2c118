"""How well an agent chooses and orders its calls, beside a teacher: strategic competence as numbers.

MENTOR (arXiv 2510.18383) claims that its students gain in strategic competence, and shows it by the similarity of the
two distributions of tools. These metrics are of single episodes, so they tell a needless call from a missing one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mentor_kit.core.conversation import CallState
from mentor_kit.core.demonstration import Demonstrations
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.stages.metrics import closest

#: The metrics, in the order of tables.
STRATEGY = ("needless_calls", "missing_calls", "teacher_order", "recovery_rate", "calls_per_right_answer")

#: Those between 0 and 1.
SHARES = ("teacher_order", "recovery_rate")


def strategy_metrics(trajectories: Sequence[Trajectory], demonstrations: Demonstrations) -> dict[str, float]:
    """The metrics of some episodes; each is left out where there is nothing to compute it from.

    needless_calls: executed calls of an episode beyond those of the teacher, by tools' names, on average.
    missing_calls: the teacher's calls that an episode lacks, by tools' names, on average.
    teacher_order: the share of the teacher's calls that an episode makes in their order: the longest common
        subsequence of the two sequences of names over the teacher's length. Over episodes whose teacher makes calls.
    recovery_rate: the share of calls that went wrong (malformed, of unknown tools, with invalid arguments, failed)
        after which a later turn of the episode has an executed call.
    calls_per_right_answer: calls of any kind over all episodes, over the number of right episodes.

    The first three are over episodes of problems that the teacher solved; where it did in several ways, an episode is
    compared with the one of most similar tools.
    """
    found: dict[str, float] = {}
    pairs = [
        (trajectory.tools_used, shown.tools_used)
        for trajectory in trajectories
        if (shown := closest(trajectory, demonstrations)) is not None
    ]
    if pairs:
        found["needless_calls"] = _mean([(Counter(own) - Counter(shown)).total() for own, shown in pairs])
        found["missing_calls"] = _mean([(Counter(shown) - Counter(own)).total() for own, shown in pairs])
    if ordered := [common_length(own, shown) / len(shown) for own, shown in pairs if shown]:
        found["teacher_order"] = _mean(ordered)
    if wrong := [recovered for trajectory in trajectories for recovered in recoveries(trajectory)]:
        found["recovery_rate"] = _mean(wrong)
    if right := sum(trajectory.correct for trajectory in trajectories):
        found["calls_per_right_answer"] = sum(len(trajectory.calls) for trajectory in trajectories) / right
    return found


def common_length(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence of two sequences."""
    lengths = [0] * (len(other) + 1)
    for item in one:
        before = 0
        for place, element in enumerate(other, 1):
            before, lengths[place] = (
                lengths[place],
                before + 1 if item == element else max(lengths[place], lengths[place - 1]),
            )
    return lengths[-1]


def recoveries(trajectory: Trajectory) -> list[bool]:
    """For every call that went wrong, whether a later turn has an executed one."""
    states = [(turn, call.state) for turn, message in enumerate(trajectory.turns) for call in message.tool_calls]
    last = max((turn for turn, state in states if state is CallState.EXECUTED), default=-1)
    wrong = (CallState.MALFORMED, CallState.UNKNOWN_TOOL, CallState.INVALID_ARGUMENTS, CallState.FAILED)
    return [turn < last for turn, state in states if state in wrong]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
