"""Metrics of an evaluation's episodes: accuracy and pass@k with intervals, and a row for every episode."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from mentor_kit.core.conversation import CallState
from mentor_kit.core.demonstration import Demonstrations
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rl.reward import Scored
from mentor_kit.stages.evaluation_episodes import EvaluationEpisodes
from mentor_kit.stages.metrics import closest
from mentor_kit.stages.tool_strategy import recoveries
from mentor_kit.utils.statistics import Interval, clustered_interval, pass_at_k, wilson


def accuracy(trajectories: Sequence[Trajectory], clusters: Mapping[str, str]) -> dict[str, Json]:
    """The share of right episodes with its 95 % interval.

    Wilson's where every episode is a cluster of its own, else the clustered one (`mentor_kit.utils.statistics`); where
    all are right, or all wrong, Wilson's with the clusters for its trials.

    Args:
        trajectories: the episodes.
        clusters: from a problem's id to its cluster; problems of different clusters are independent.
    """
    correct = sum(trajectory.correct for trajectory in trajectories)
    members = [clusters[trajectory.problem_id] for trajectory in trajectories]
    kind, (low, high) = _interval([float(trajectory.correct) for trajectory in trajectories], members)
    return {
        "accuracy": correct / max(len(trajectories), 1),
        "low": low,
        "high": high,
        "correct": correct,
        "episodes": len(trajectories),
        "interval": kind,
    }


def pass_at(trajectories: Sequence[Trajectory], ks: Sequence[int], clusters: Mapping[str, str]) -> dict[str, Json]:
    """For every k the mean over problems of the estimated pass@k, with its 95 % interval, clustered as above.

    Problems with fewer than k episodes are left out. A problem's n episodes stand for n // k trials of k.
    """
    found: dict[str, Json] = {}
    outcomes = by_problem(trajectories)
    for k in ks:
        enough = {problem: right for problem, right in outcomes.items() if len(right) >= k}
        if not enough:
            continue
        values = [pass_at_k(len(right), sum(right), k) for right in enough.values()]
        trials = sum(len(right) // k for right in enough.values())
        kind, (low, high) = _interval(values, [clusters[problem] for problem in enough], trials)
        value = math.fsum(values) / len(values)
        found[str(k)] = {"value": value, "low": low, "high": high, "problems": len(values), "interval": kind}
    return found


def _interval(values: Sequence[float], clusters: Sequence[str], trials: int | None = None) -> tuple[str, Interval]:
    """The name of the interval and the interval; `trials` as for `clustered_interval`."""
    count = len(set(clusters))
    if len(values) == count and {*values} <= {0.0, 1.0}:
        return "wilson", wilson(round(sum(values)), count)
    kind = "wilson" if {*values} in ({0.0}, {1.0}) else "clustered"
    return kind, clustered_interval(values, clusters, trials=trials)


def powers_of_two(samples: int) -> tuple[int, ...]:
    """1, 2, 4 … and `samples` itself; empty for fewer than two samples."""
    powers = [2**exponent for exponent in range(samples.bit_length()) if 2**exponent < samples]
    return (*powers, samples) if samples > 1 else ()


def by_problem(trajectories: Sequence[Trajectory]) -> dict[str, list[bool]]:
    """Whether each episode of a problem was right, by the problem's id."""
    outcomes: dict[str, list[bool]] = defaultdict(list)
    for trajectory in trajectories:
        outcomes[trajectory.problem_id].append(trajectory.correct)
    return dict(outcomes)


def means_by_problem(episodes: EvaluationEpisodes) -> dict[str, Json]:
    """[greedy 0 or 1, mean of the sampled ones] by problem; a missing greedy one is null, missing samples are left out.

    Evaluations are compared by problem with these.
    """
    greedy, sampled = by_problem(episodes.greedy), by_problem(episodes.sampled)
    found: dict[str, Json] = {}
    for problem in {**greedy, **sampled}:
        first = int(greedy[problem][0]) if problem in greedy else None
        mean = [sum(sampled[problem]) / len(sampled[problem])] if problem in sampled else []
        found[problem] = [first, *mean]
    return found


def rows(
    episodes: EvaluationEpisodes,
    scored: Sequence[Scored],
    problems: Sequence[Problem],
    demonstrations: Demonstrations,
    rewarded: Collection[str] | None = None,
) -> list[dict[str, Json]]:
    """A flat row for every episode, for data frames: its outcome, its calls by state, its reward.

    Args:
        episodes: those of the evaluation.
        scored: the same, greedy ones first, with their rewards.
        problems: of all episodes.
        demonstrations: the teacher's; `teacher_tools` are those of the right one most similar to the episode.
        rewarded: ids of the problems whose episodes the recipe's reward scored; all if left out. `reward` is null in
            the rows of others.
    """
    known = {problem.id: problem for problem in problems}
    rewarded = known if rewarded is None else rewarded
    counts: Counter[tuple[str, str]] = Counter()
    found = []
    for place, item in enumerate(scored):
        kind = "greedy" if place < len(episodes.greedy) else "sampled"
        problem = item.trajectory.problem_id
        about = known.get(problem)
        shown = closest(item.trajectory, demonstrations)
        found.append(
            {"problem": problem, "group": about.group if about else "", "key": about.answer or None if about else None}
            | {"decoding": kind, "sample": counts[kind, problem]}
            | _row(item)
            | {"reward": item.reward.total if problem in rewarded else None}
            | {"teacher_tools": list(shown.tools_used) if shown else None}
        )
        counts[kind, problem] += 1
    return found


def _row(item: Scored) -> dict[str, Json]:
    trajectory = item.trajectory
    states = Counter(call.state for call in trajectory.calls)
    return {
        "correct": trajectory.correct,
        "answer": trajectory.answer,
        "ending": str(trajectory.ending),
        "turns": len(trajectory.turns),
        "calls": len(trajectory.calls),
        "executed": states[CallState.EXECUTED],
        "malformed": states[CallState.MALFORMED],
        "unknown_tool": states[CallState.UNKNOWN_TOOL],
        "invalid_arguments": states[CallState.INVALID_ARGUMENTS],
        "failed": states[CallState.FAILED],
        "recovered": sum(recoveries(trajectory)),
        "tools": list(trajectory.tools_used),
        "tokens": trajectory.tokens.sampled if trajectory.tokens is not None else None,
    }
