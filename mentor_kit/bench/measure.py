"""Runs a few steps of every training stage of a recipe, and says where the time goes.

The first step of a stage warms the machine up and is not counted. Nothing is written; a teacher that costs money is
asked as in a run of so many steps.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from mentor_kit.backend.flops import MachineLimits, Work
from mentor_kit.backend.policy import Policy
from mentor_kit.bench.clock import ActivityClock
from mentor_kit.bench.clocked import CallCounts, clocked
from mentor_kit.bench.result import Bench, StageBench
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, Interrupted, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.assembly import Components, assemble, assemble_components
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.workloads import build_stages, workloads
from mentor_kit.rl.reward import Scored
from mentor_kit.stages import EvaluationPlan, SplitPlan
from mentor_kit.utils.gc import frozen_heap

WARM_UP = 1


def bench(loaded: LoadedRecipe, registry: Registry, *, steps: int = 3) -> Bench:
    """Measure `steps` steps of every training stage.

    Raises:
        UsageError: the recipe has no stage with steps, or `steps` is below 1.
        MentorKitError: a part cannot be built here.
    """
    if steps < 1:
        raise UsageError(f"--steps takes a number of at least 1, not {steps}")
    with closing(assemble_components(loaded, registry)) as parts:
        return _measure(loaded, registry, parts, steps)


def _measure(loaded: LoadedRecipe, registry: Registry, parts: Components, steps: int) -> Bench:
    recipe = loaded.recipe
    planned = build_stages(recipe, registry, parts.context)
    works = workloads(recipe, planned)
    counts = {key: work.steps for key, work in works.items() if work.trains and work.steps}
    if not counts:
        silent = [key for key, work in works.items() if not work.is_known]
        hint = f"how many steps it has, {silent[0]} does not tell" if silent else "its `train` needs sft or grpo"
        raise UsageError(f"{recipe.name} has no training stage to measure", hint=hint)
    experiment = assemble(loaded, registry, parts)
    policy = experiment.policy
    limits = policy.limits()
    stages = []
    for key, stage in planned:
        if key in counts:
            log = StepLog(policy, key, steps + WARM_UP)
            log.mark()
            with frozen_heap(), suppress(Enough):
                stage.run(clocked(experiment, log.clock, log.counts), log)
            stages.append(_stage(log, counts[key], limits))
    evaluations = _episodes(recipe.evaluate, list(counts.values()))
    return Bench(
        name=recipe.name,
        policy=policy.info,
        limits=limits,
        stages=tuple(stages),
        not_measured=tuple(key for key in works if key not in counts),
        evaluations=evaluations,
        evaluation_seconds=_evaluation_seconds(stages, evaluations),
        peak_memory=_peak_memory(policy),
    )


class Enough(Interrupted):
    """Ends a stage of which enough was measured."""


@dataclass(frozen=True)
class Moment:
    """How far everything was when a step ended."""

    time: float
    clock: dict[str, float]
    counts: CallCounts
    work: dict[str, Work]


@dataclass
class StepLog:
    """A `mentor_kit.stages.context.StageContext` that keeps nothing but the moments at which steps ended."""

    policy: Policy
    key: str
    wanted: int
    """The stage is stopped after so many steps."""
    clock: ActivityClock = field(default_factory=ActivityClock)
    counts: CallCounts = field(default_factory=CallCounts)
    moments: list[Moment] = field(default_factory=list)
    demonstrations: list[Demonstration] = field(default_factory=list)
    is_first: bool = False

    @property
    def steps(self) -> int:
        """How many have ended."""
        return len(self.moments) - 1

    def mark(self) -> None:
        """Keep this moment; the first one is that before the first step."""
        work = self.policy.work()
        self.moments.append(Moment(time.perf_counter(), self.clock.read(), replace(self.counts), work))

    def emit(self, kind: str, **values: Json) -> None:
        if kind == "step":
            self.check_stop()  # of a stage that does not ask between its steps
            self.mark()

    def progress(self, done: int, total: int, **values: float) -> None:
        pass

    def write_rollouts(self, step: int, scored: Sequence[Scored]) -> None:
        pass

    def write_evaluation(
        self,
        name: str,
        report: Mapping[str, Json],
        scored: Sequence[Scored],
        outcomes: Sequence[Mapping[str, Json]] = (),
    ) -> None:
        pass

    def write_demonstrations(self, demonstrations: Sequence[Demonstration]) -> None:
        self.demonstrations += demonstrations

    def read_demonstrations(self) -> Sequence[Demonstration]:
        return self.demonstrations

    def checkpoint(self, step: int, state: Mapping[str, Json], *, metrics: Mapping[str, float] | None = None) -> None:
        pass

    def resumed(self) -> Mapping[str, Json] | None:
        return None

    def check_stop(self) -> None:
        if self.steps >= self.wanted:
            raise Enough("enough was measured")

    def checkpoint_due(self, step: int, steps: int) -> bool:
        return False

    def write_folder(self, name: str, fill: Callable[[Path], None]) -> Path:
        raise UsageError(f"a stage that writes the folder {name!r} cannot be measured")


def _stage(log: StepLog, steps: int, limits: MachineLimits | None) -> StageBench:
    if not log.steps:
        raise DataError(f"stage {log.key} told of no steps: it cannot be measured")
    # a stage of a single step has none to warm up with
    skipped = WARM_UP if log.steps > WARM_UP else 0
    first, last, count = log.moments[skipped], log.moments[-1], log.steps - skipped
    seconds = (last.time - first.time) / count
    spent = {kind: (last.clock[kind] - first.clock[kind]) / count for kind in last.clock}
    done = {kind: _less(work, first.work.get(kind, Work())) for kind, work in last.work.items()}
    return StageBench(
        key=log.key,
        measured=count,
        steps=steps,
        seconds=seconds,
        split=_split(seconds, spent, {kind: work.seconds / count for kind, work in done.items()}),
        sampled=(last.counts.sampled - first.counts.sampled) / count,
        trained=(last.counts.trained - first.counts.trained) / count,
        episodes=(last.counts.episodes - first.counts.episodes) / count,
        limit={} if limits is None else {k: _share(work, limits) for k, work in done.items() if work.seconds},
    )


def _split(seconds: float, spent: Mapping[str, float], work: Mapping[str, float]) -> dict[str, float]:
    """Seconds by part: sampling as prefill and decode where they are known, and what is left as idle."""
    told = {kind: work[kind] for kind in ("prefill", "decode") if kind in work}
    found = {**told, **spent, "sample": max(spent["sample"] - sum(told.values()), 0.0)}
    return {**found, "idle": max(seconds - sum(spent.values()), 0.0)}


def _less(work: Work, before: Work) -> Work:
    return Work(
        seconds=work.seconds - before.seconds,
        tokens=work.tokens - before.tokens,
        flops=work.flops - before.flops,
        bytes=work.bytes - before.bytes,
    )


def _share(work: Work, limits: MachineLimits) -> float:
    """Products and bytes can go on side by side: at best the slower of the two decides."""
    return max(work.flops / limits.flops, work.bytes / limits.bandwidth) / work.seconds


def _episodes(plan: EvaluationPlan, stages: Sequence[int]) -> int:
    """Episodes of all evaluations in stages of so many steps; those of plugins are unknown and left out."""
    once = sum(split.problems * (1 + split.samples) for split in plan.on if isinstance(split, SplitPlan))
    times = sum(plan.due(step, steps) for steps in stages for step in range(1, steps + 1))
    return once * (times + (plan.at_start and bool(stages)))


def _evaluation_seconds(stages: Sequence[StageBench], episodes: int) -> float | None:
    played = [stage for stage in stages if stage.episodes]
    if not played or not episodes:
        return None
    seconds = sum(stage.seconds - stage.split["update"] - stage.split["teacher"] for stage in played)
    return episodes * seconds / sum(stage.episodes for stage in played)


def _peak_memory(policy: Policy) -> int | None:
    """The device's, or else the process's own where the system tells it."""
    found = policy.peak_memory()
    if found is not None or sys.platform == "win32":
        return found
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
