"""The arithmetic of a benchmark: from readings of a clock to seconds by activity, shares of limits and estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mentor_kit.backend.flops import MachineLimits, Work
from mentor_kit.benchmark.result import StageBench
from mentor_kit.benchmark.step_log import StepLog
from mentor_kit.core.errors import DataError
from mentor_kit.stages import EvaluationPlan, SplitPlan


def stage_bench(log: StepLog, steps: int, warm_up: int, limits: MachineLimits | None) -> StageBench:
    """The measurements of a stage, in the mean over its steps.

    Args:
        log: with a reading before the first step and after each.
        steps: of the whole stage.
        warm_up: steps at the beginning that do not count.
        limits: of the machine, where they are known.

    Raises:
        DataError: the stage emitted no `step`.
    """
    if not log.steps:
        raise DataError(f"the stage {log.key} emitted no `step` event, and cannot be benchmarked")
    # a stage of a single step has none to warm up with
    skipped = warm_up if log.steps > warm_up else 0
    first, last, count = log.readings[skipped], log.readings[-1], log.steps - skipped
    seconds = (last.time - first.time) / count
    spent = {kind: (last.clock[kind] - first.clock[kind]) / count for kind in last.clock}
    done = {kind: _difference(work, first.work.get(kind, Work())) for kind, work in last.work.items()}
    return StageBench(
        key=log.key,
        measured=count,
        steps=steps,
        seconds=seconds,
        split=time_split(seconds, spent, {kind: work.seconds / count for kind, work in done.items()}),
        sampled=(last.counts.sampled - first.counts.sampled) / count,
        trained=(last.counts.trained - first.counts.trained) / count,
        episodes=(last.counts.episodes - first.counts.episodes) / count,
        limit={} if limits is None else {k: limit_share(work, limits) for k, work in done.items() if work.seconds},
    )


def time_split(seconds: float, spent: Mapping[str, float], work: Mapping[str, float]) -> dict[str, float]:
    """Seconds of a step by activity.

    Args:
        seconds: of the step.
        spent: seconds by activity, as a clock has them.
        work: seconds of the policy's prefill and decode, where they are known; the rest of sampling stays `sample`.

    Returns:
        The seconds by activity; what is left of the step is `idle`.
    """
    known = {kind: work[kind] for kind in ("prefill", "decode") if kind in work}
    found = {**known, **spent, "sample": max(spent["sample"] - sum(known.values()), 0.0)}
    return {**found, "idle": max(seconds - sum(spent.values()), 0.0)}


def _difference(work: Work, before: Work) -> Work:
    return Work(
        seconds=work.seconds - before.seconds,
        tokens=work.tokens - before.tokens,
        flops=work.flops - before.flops,
        bytes=work.bytes - before.bytes,
    )


def limit_share(work: Work, limits: MachineLimits) -> float:
    """The time that the slower of products and bytes takes at best, as a share of the time taken."""
    return max(work.flops / limits.flops, work.bytes / limits.bandwidth) / work.seconds


def evaluation_episodes(plan: EvaluationPlan, stages: Sequence[int]) -> int:
    """Episodes of all evaluations in stages of so many steps; those of plugins are not known, and not counted."""
    once = sum(split.problems * (1 + split.samples) for split in plan.on if isinstance(split, SplitPlan))
    times = sum(plan.due(step, steps) for steps in stages for step in range(1, steps + 1))
    return once * (times + (plan.at_start and bool(stages)))


def evaluation_seconds(stages: Sequence[StageBench], episodes: int) -> float | None:
    """Seconds of so many episodes, at the rate of the stages' rollouts; None where there were none."""
    with_rollouts = [stage for stage in stages if stage.episodes]
    if not with_rollouts or not episodes:
        return None
    seconds = sum(stage.seconds - stage.split["update"] - stage.split["teacher"] for stage in with_rollouts)
    return episodes * seconds / sum(stage.episodes for stage in with_rollouts)
