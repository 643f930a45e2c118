"""An experiment whose parts are watched by a clock, and count what they do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from mentor_kit.bench.clock import Clock
from mentor_kit.chat.tokenizer import ChatTokenizer
from mentor_kit.demonstration import Demonstration, Teacher
from mentor_kit.objective import Objective
from mentor_kit.policy import Completion, Engine, Floats, LossMetrics, Policy, SampleRequest, StepMetrics, TokenGroup
from mentor_kit.record import Json
from mentor_kit.reward import Breakdown, Reward
from mentor_kit.stages import EvaluationPlan, Experiment
from mentor_kit.stages.distillation import TokenTeacher
from mentor_kit.task import Problem
from mentor_kit.tool import Tool, Toolbox, ToolSession, ToolSource
from mentor_kit.trajectory import Trajectory


@dataclass
class Counts:
    """What was done so far."""

    sampled: int = 0
    """Tokens drawn."""
    trained: int = 0
    """Tokens with a loss."""
    episodes: int = 0


def clocked(experiment: Experiment, clock: Clock, counts: Counts) -> Experiment:
    """The experiment with every part watched, and without evaluations."""
    reward, teacher, build = experiment.reward, experiment.teacher, experiment.build_teacher
    return replace(
        experiment,
        policy=cast(Policy, ClockedPolicy(experiment.policy, clock, counts)),
        toolbox=Toolbox([ClockedTools(source, clock) for source in experiment.toolbox.sources]),
        reward=None if reward is None else cast(Reward, ClockedReward(reward, clock)),
        teacher=None if teacher is None else _clocked(teacher, clock),
        build_teacher=None if build is None else lambda slot: _clocked(build(slot), clock),
        evaluation=EvaluationPlan(at_start=False, at_end=False),
    )


class ClockedPolicy:
    """A policy; what is not watched is its own."""

    def __init__(self, policy: Policy, clock: Clock, counts: Counts) -> None:
        self._policy = policy
        self._clock = clock
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def engine(self) -> Engine:
        return ClockedEngine(self._policy.engine(), self._clock, self._counts)

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


class ClockedEngine:
    """A `mentor_kit.policy.Engine`."""

    def __init__(self, engine: Engine, clock: Clock, counts: Counts) -> None:
        self._engine = engine
        self._clock = clock
        self._counts = counts

    @property
    def busy(self) -> bool:
        return self._engine.busy

    def submit(self, request: SampleRequest) -> None:
        with self._clock.on("sample"):
            self._engine.submit(request)

    def step(self) -> list[Completion]:
        with self._clock.on("sample"):
            finished = self._engine.step()
        self._counts.sampled += sum(len(completion.ids) for completion in finished)
        return finished

    def cancel(self, request_id: str) -> None:
        self._engine.cancel(request_id)

    def release(self, session: str) -> None:
        self._counts.episodes += 1
        self._engine.release(session)


@dataclass(frozen=True)
class ClockedTools:
    """A `mentor_kit.tool.ToolSource`."""

    source: ToolSource
    clock: Clock

    def tools(self, problem: Problem) -> Sequence[Tool]:
        return self.source.tools(problem)

    @asynccontextmanager
    async def open(self, problem: Problem, seed: int) -> AsyncIterator[ToolSession]:
        async with self.source.open(problem, seed) as session:
            yield ClockedSession(session, self.clock)


@dataclass(frozen=True)
class ClockedSession:
    """A `mentor_kit.tool.ToolSession`."""

    session: ToolSession
    clock: Clock

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        with self.clock.on("tools"):
            return await self.session.call(name, arguments)


@dataclass(frozen=True)
class ClockedReward:
    """A `mentor_kit.reward.Reward`."""

    reward: Reward
    clock: Clock

    def __call__(
        self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration] = ()
    ) -> Breakdown:
        with self.clock.on("reward"):
            return self.reward(trajectory, problem, demonstrations)


@dataclass(frozen=True)
class ClockedTeacher:
    """A `mentor_kit.demonstration.Teacher`."""

    teacher: Teacher
    clock: Clock

    @property
    def name(self) -> str:
        """The teacher's own."""
        return self.teacher.name

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        with self.clock.on("teacher"):
            async for demonstration in self.teacher.demonstrate(problems):
                yield demonstration


@dataclass(frozen=True)
class ClockedTokenTeacher(ClockedTeacher):
    """A `mentor_kit.stages.distillation.TokenTeacher`."""

    teacher: TokenTeacher

    def check_tokens(self, tokenizer: ChatTokenizer) -> None:
        """The teacher's own."""
        self.teacher.check_tokens(tokenizer)

    def log_probs(self, groups: Sequence[TokenGroup]) -> list[list[Floats]]:
        with self.clock.on("teacher"):
            return self.teacher.log_probs(groups)


def _clocked(teacher: Teacher, clock: Clock) -> ClockedTeacher:
    return ClockedTokenTeacher(teacher, clock) if isinstance(teacher, TokenTeacher) else ClockedTeacher(teacher, clock)
