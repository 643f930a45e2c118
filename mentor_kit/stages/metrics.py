"""Metrics of trajectories, the same for training steps and evaluations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from mentor_kit.core.conversation import CallState
from mentor_kit.core.demonstration import Demonstration, Demonstrations
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.rl.reward import Scored
from mentor_kit.utils.statistics import similarity, similarity_interval


def reward_metrics(scored: Sequence[Scored]) -> dict[str, float]:
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


def trajectory_metrics(trajectories: Sequence[Trajectory], demonstrations: Demonstrations) -> dict[str, float]:
    """Accuracy, endings, lengths, call statistics, and how close the tool use is to the teacher's.

    Rates of malformed calls, calls of unknown tools, with invalid arguments, and failed calls are shares of all
    calls. `similarity` is 1 - JSD of the executed calls' names; it is left out where the teacher solved no problem.
    """
    count = max(len(trajectories), 1)
    calls = [call for trajectory in trajectories for call in trajectory.calls]
    states = Counter(call.state for call in calls)
    endings = Counter(trajectory.ending for trajectory in trajectories)
    traces = [trajectory.tokens for trajectory in trajectories if trajectory.tokens is not None]
    metrics = {
        "accuracy": sum(trajectory.correct for trajectory in trajectories) / count,
        "ended_rate": endings[Ending.ANSWERED] / count,
        "not_ended": 1 - endings[Ending.ANSWERED] / count,
        "truncated": (endings[Ending.LENGTH] + endings[Ending.CONTEXT_FULL]) / count,
        "turns": sum(len(trajectory.turns) for trajectory in trajectories) / count,
        "calls_per_problem": len(calls) / count,
        "malformed_rate": states[CallState.MALFORMED] / max(len(calls), 1),
        "unknown_tool_rate": states[CallState.UNKNOWN_TOOL] / max(len(calls), 1),
        "invalid_arguments_rate": states[CallState.INVALID_ARGUMENTS] / max(len(calls), 1),
        "failed_rate": states[CallState.FAILED] / max(len(calls), 1),
        "response_tokens": sum(len(trace.ids) for trace in traces) / count,
        "sampled_tokens": sum(trace.sampled for trace in traces) / count,
    }
    close = teacher_similarity(trajectories, demonstrations)
    return metrics if close is None else metrics | {"similarity": close}


def tool_use(trajectories: Sequence[Trajectory], demonstrations: Demonstrations) -> dict[str, Json]:
    """How often each tool was executed by the agent, and by the teacher on the problems that it has solved.

    `similarity_low` and `similarity_high` are the bootstrap's 95 % interval over these problems.
    """
    own, shown = _uses(trajectories, demonstrations)
    used: Counter[str] = Counter()
    for trajectory in trajectories:
        used.update(trajectory.tools_used)
    found: dict[str, Json] = {"tools": dict(sorted(used.items()))}
    if not shown:
        return found
    low, high = similarity_interval([(own[problem], shown[problem]) for problem in shown])
    total = sum(shown.values(), Counter())
    return found | {"teacher_tools": dict(sorted(total.items())), "similarity_low": low, "similarity_high": high}


def teacher_similarity(trajectories: Sequence[Trajectory], demonstrations: Demonstrations) -> float | None:
    """1 - JSD (base 2) of the names of executed calls, agent against teacher, on the problems that the teacher solved.

    The teacher's calls are those of its right demonstrations; where a problem has several, an episode is compared with
    the most similar one. None where the teacher solved no problem.
    """
    own, shown = _uses(trajectories, demonstrations)
    return similarity(sum(own.values(), Counter()), sum(shown.values(), Counter())) if shown else None


def closest(trajectory: Trajectory, demonstrations: Demonstrations) -> Demonstration | None:
    """The right demonstration of the trajectory's problem with the most similar tool use; the first of equals.

    None where the teacher has not solved the problem.
    """
    own = Counter(trajectory.tools_used)
    right = demonstrations.right(trajectory.problem_id)
    return max(right, key=lambda shown: similarity(own, Counter(shown.tools_used)), default=None)


def _uses(
    trajectories: Sequence[Trajectory], demonstrations: Demonstrations
) -> tuple[dict[str, Counter[str]], dict[str, Counter[str]]]:
    """How often each tool was used in each problem, by the agent and by the teacher, episode by episode.

    Problems that the teacher has not solved are left out.
    """
    own: defaultdict[str, Counter[str]] = defaultdict(Counter)
    shown: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for trajectory in trajectories:
        demonstration = closest(trajectory, demonstrations)
        if demonstration is not None:
            own[trajectory.problem_id].update(trajectory.tools_used)
            shown[trajectory.problem_id].update(demonstration.tools_used)
    return own, shown
