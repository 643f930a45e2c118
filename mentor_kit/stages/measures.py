"""What is measured on played trajectories, in training steps and evaluations alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from mentor_kit.conversation import CallState
from mentor_kit.demonstration import Demonstrations
from mentor_kit.reward import Scored
from mentor_kit.statistics import similarity
from mentor_kit.trajectory import Ending, Trajectory


def reward_measures(scored: Sequence[Scored]) -> dict[str, float]:
    """The mean reward, each term's mean value (0 where a gate decided), and how often each gate decided."""
    count = max(len(scored), 1)
    sums: defaultdict[str, float] = defaultdict(float)
    for item in scored:
        sums["reward"] += item.reward.total
        if item.reward.gate:
            sums[f"gate/{item.reward.gate}"] += 1
        for name, term in item.reward.terms.items():
            sums[f"reward/{name}"] += term.value
    return {name: value / count for name, value in sorted(sums.items())} | {"reward": sums["reward"] / count}


def trajectory_measures(trajectories: Sequence[Trajectory], demonstrations: Demonstrations) -> dict[str, float]:
    """Accuracy, endings, lengths, call statistics, and how close the tool use is to the teacher's.

    Rates of malformed, unknown-tool, badly argued and failed calls are shares of all calls. `similarity` is
    1 - JSD of the executed calls' names, and left out where the teacher showed nothing for these problems.
    """
    count = max(len(trajectories), 1)
    calls = [call for trajectory in trajectories for call in trajectory.calls]
    states = Counter(call.state for call in calls)
    endings = Counter(trajectory.ending for trajectory in trajectories)
    traces = [trajectory.tokens for trajectory in trajectories if trajectory.tokens is not None]
    measures = {
        "accuracy": sum(trajectory.correct for trajectory in trajectories) / count,
        "ended_rate": endings[Ending.ANSWERED] / count,
        "not_ended": 1 - endings[Ending.ANSWERED] / count,
        "truncated": (endings[Ending.LENGTH] + endings[Ending.CONTEXT_FULL]) / count,
        "turns": sum(len(trajectory.turns) for trajectory in trajectories) / count,
        "calls_per_problem": len(calls) / count,
        "malformed_rate": states[CallState.MALFORMED] / max(len(calls), 1),
        "unknown_tool_rate": states[CallState.UNKNOWN_TOOL] / max(len(calls), 1),
        "bad_arguments_rate": states[CallState.BAD_ARGUMENTS] / max(len(calls), 1),
        "failed_rate": states[CallState.FAILED] / max(len(calls), 1),
        "response_tokens": sum(len(trace.ids) for trace in traces) / count,
        "sampled_tokens": sum(trace.sampled for trace in traces) / count,
    }
    close = teacher_similarity(trajectories, demonstrations)
    return measures if close is None else measures | {"similarity": close}


def teacher_similarity(trajectories: Sequence[Trajectory], demonstrations: Demonstrations) -> float | None:
    """1 - JSD (base 2) of the names of executed calls, student against teacher, on problems both have played."""
    student: Counter[str] = Counter()
    teacher: Counter[str] = Counter()
    compared = False
    for trajectory in trajectories:
        shown = demonstrations.of_id(trajectory.problem_id)
        if shown:
            compared = True
            student.update(trajectory.tools_used)
            teacher.update(shown[0].tools_used)
    return similarity(student, teacher) if compared else None
