"""An experiment whose components are measured by a clock and count their work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import Completion, Sampler, SampleRequest
from mentor_kit.backend.token_groups import Floats, TokenGroup
from mentor_kit.benchmark.clock import ActivityClock
from mentor_kit.chat.tokenizer import ChatTokenizer
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import Toolbox, ToolSession, ToolSource
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.reward import Breakdown, Case, Reward
from mentor_kit.rl.update_metrics import LossMetrics, StepMetrics
from mentor_kit.stages import EvaluationPlan, Experiment, LoadedStudent
from mentor_kit.stages.distillation import TokenTeacher


@dataclass
class CallCounts:
    """Counts so far."""

    sampled: int = 0
    """Sampled tokens."""
    trained: int = 0
    """Trained tokens: those with a loss."""
    episodes: int = 0


def clocked(experiment: Experiment, clock: ActivityClock, counts: CallCounts) -> Experiment:
    """The experiment with every component measured, and without evaluations."""
    reward, teacher, build = experiment.reward, experiment.teacher, experiment.build_teacher
    return replace(
        experiment,
        student=LoadedStudent(cast(Policy, ClockedPolicy(experiment.policy, clock, counts)), experiment.format),
        toolbox=Toolbox([ClockedTools(source, clock) for source in experiment.toolbox.sources]),
        reward=None if reward is None else cast(Reward, ClockedReward(reward, clock)),
        teacher=None if teacher is None else _clocked(teacher, clock),
        build_teacher=None if build is None else lambda spec: _clocked(build(spec), clock),
        evaluation=EvaluationPlan(at_start=False, at_end=False),
    )


class ClockedPolicy:
    """A `mentor_kit.backend.policy.Policy` whose sampling and updates are measured."""

    def __init__(self, policy: Policy, clock: ActivityClock, counts: CallCounts) -> None:
        self._policy = policy
        self._clock = clock
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def sampler(self, *, deterministic: bool = True) -> Sampler:
        sampler = self._policy.sampler(deterministic=deterministic, watch=lambda: self._clock.on("sample"))
        return ClockedSampler(sampler, self._counts)

    def forward_backward(self, groups: Sequence[TokenGroup], objective: Objective) -> LossMetrics:
        with self._clock.on("update"):
            metrics = self._policy.forward_backward(groups, objective)
        self._counts.trained += metrics.tokens
        return metrics

    def optimizer_step(self, learning_rate: float) -> StepMetrics:
        with self._clock.on("update"):
            return self._policy.optimizer_step(learning_rate)

    def log_probs(self, groups: Sequence[TokenGroup], **which: Any) -> list[list[Floats]]:
        with self._clock.on("update"):
            return self._policy.log_probs(groups, **which)


class ClockedSampler:
    """A `mentor_kit.backend.sampling.Sampler` that counts tokens and episodes."""

    def __init__(self, sampler: Sampler, counts: CallCounts) -> None:
        self._sampler = sampler
        self._counts = counts

    def open(self, session: str) -> None:
        self._sampler.open(session)

    def close(self, session: str) -> None:
        self._counts.episodes += 1
        self._sampler.close(session)

    async def sample(self, request: SampleRequest) -> Completion:
        completion = await self._sampler.sample(request)
        self._counts.sampled += len(completion.ids)
        return completion

    def cancel(self, request_id: str) -> None:
        self._sampler.cancel(request_id)

    def drawn(self, request_id: str) -> tuple[int, ...]:
        return self._sampler.drawn(request_id)


@dataclass(frozen=True)
class ClockedTools(ToolSource):
    """A `mentor_kit.core.toolbox.ToolSource`."""

    source: ToolSource
    clock: ActivityClock

    def tools(self, problem: Problem) -> Sequence[Tool]:
        return self.source.tools(problem)

    @asynccontextmanager
    async def open(self, problem: Problem, seed: int) -> AsyncIterator[ToolSession]:
        async with self.source.open(problem, seed) as session:
            yield ClockedSession(session, self.clock)

    def close(self) -> None:
        self.source.close()


@dataclass(frozen=True)
class ClockedSession:
    """A `mentor_kit.core.toolbox.ToolSession`."""

    session: ToolSession
    clock: ActivityClock

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        with self.clock.on("tools"):
            return await self.session.call(name, arguments)


@dataclass(frozen=True)
class ClockedReward:
    """A `mentor_kit.rl.reward.Reward`."""

    reward: Reward
    clock: ActivityClock

    def prepare(self, cases: Sequence[Case]) -> None:
        """As the reward does."""
        with self.clock.on("reward"):
            self.reward.prepare(cases)

    def __call__(
        self,
        trajectory: Trajectory,
        problem: Problem,
        demonstrations: Sequence[Demonstration] = (),
        *,
        progress: float = 1.0,
    ) -> Breakdown:
        with self.clock.on("reward"):
            return self.reward(trajectory, problem, demonstrations, progress=progress)


class ClockedTeacher(Teacher):
    """A teacher whose demonstrations are timed."""

    def __init__(self, teacher: Teacher, clock: ActivityClock) -> None:
        self.name = teacher.name
        self.teacher = teacher
        self.clock = clock

    def account(self) -> dict[str, Json]:
        return self.teacher.account()

    def close(self) -> None:
        self.teacher.close()

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        with self.clock.on("teacher"):
            async for demonstration in self.teacher.demonstrate(problems):
                yield demonstration


class ClockedTokenTeacher(ClockedTeacher, TokenTeacher):
    """A teacher to distil from, whose log-probabilities are timed."""

    teacher: TokenTeacher

    def check_tokens(self, tokenizer: ChatTokenizer) -> None:
        """The teacher's own."""
        self.teacher.check_tokens(tokenizer)

    def log_probs(self, groups: Sequence[TokenGroup]) -> list[list[Floats]]:
        with self.clock.on("teacher"):
            return self.teacher.log_probs(groups)


def _clocked(teacher: Teacher, clock: ActivityClock) -> ClockedTeacher:
    return ClockedTokenTeacher(teacher, clock) if isinstance(teacher, TokenTeacher) else ClockedTeacher(teacher, clock)
