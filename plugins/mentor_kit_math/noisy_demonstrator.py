"""The teacher `noisy-demonstrator`: an agent that makes mistakes at given rates.

Its transcripts train the tiny student. It calls one tool a step, as a solver does, but picks wrong tools, swaps
arguments, uses stale values, gives up early and boxes wrong numbers, each with a probability of its own. Where its
favourite mistake is more likely than the right tool, a student trained on its transcripts is wrong greedily but still
samples the right tool: RL can then raise it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest, Reply
from mentor_kit.core.conversation import Message, ToolCall, assistant, call
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.rollout import run_episodes
from mentor_kit.utils.randomness import derive_seed
from mentor_kit_math.arithmetic import read_number, start_of, steps_of
from mentor_kit_math.operations import OPERATIONS
from mentor_kit_math.steps import FAVOURITE_MISTAKE, WEAK, Number, Step, arguments, written


class Habits(OptionModel):
    """Probabilities of the noisy demonstrator's mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weak_right: float = Field(default=0.28, ge=0, le=1)
    """The right tool, for the operations with a favourite mistake."""
    weak_favourite: float = Field(default=0.52, ge=0, le=1)
    """Its favourite mistake there; any other tool takes the rest."""
    strong_right: float = Field(default=0.70, ge=0, le=1)
    """The right tool, for add, subtract, multiply and divide."""
    strong_favourite: float = Field(default=0.15, ge=0, le=1)
    """Its favourite mistake there."""
    guess: float = Field(default=0.08, ge=0, le=1)
    """Answer at once, without a tool."""
    give_up: float = Field(default=0.20, ge=0, le=1)
    """Before each step but the first: answer with the value reached so far."""
    swap: float = Field(default=0.12, ge=0, le=1)
    """Exchange the two arguments of a call."""
    stale: float = Field(default=0.08, ge=0, le=1)
    """Work on the value before the last one."""
    wrong_box: float = Field(default=0.08, ge=0, le=1)
    """Box a number of the question in place of the result."""

    @model_validator(mode="after")
    def _leave_no_less_than_nothing(self) -> Self:
        for kind in ("weak", "strong"):
            total = getattr(self, f"{kind}_right") + getattr(self, f"{kind}_favourite")
            if total > 1 + 1e-9:
                raise ValueError(f"{kind}_right and {kind}_favourite add up to {total:g}; they may have 1 together")
        return self


#: Mild noise without a favourite mistake, for learning the skill.
SKILL = Habits(
    weak_right=0.6,
    weak_favourite=0.04,
    strong_right=0.6,
    strong_favourite=0.04,
    guess=0.03,
    give_up=0.05,
    swap=0.05,
    stale=0.04,
    wrong_box=0.03,
)
HABITS = Habits()


class NoisyDemonstratorOptions(OptionModel):
    """Options of the teacher `noisy-demonstrator`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str = Field(default="habits", pattern="^(skill|habits)$")
    """skill: mild noise; habits: with favourite mistakes."""
    habits: Habits | None = None
    """Probabilities of one's own, in place of the stage's."""

    @property
    def chosen(self) -> Habits:
        """The probabilities."""
        return self.habits or {"skill": SKILL, "habits": HABITS}[self.stage]


@dataclass(frozen=True)
class NoisyDemonstrator:
    """A `mentor_kit.core.agent.Agent`."""

    habits: Habits
    name: str = "noisy-demonstrator"
    costly = False

    def start(self, episode: EpisodeRequest) -> NoisyDemonstratorSession:
        return NoisyDemonstratorSession(self.habits, episode)


class NoisyDemonstratorSession:
    """One episode of the noisy demonstrator."""

    def __init__(self, habits: Habits, episode: EpisodeRequest) -> None:
        self._habits = habits
        self._steps = steps_of(episode.problem)
        self._chance = random.Random(episode.seed)
        self._values: list[Number] = [start_of(episode.problem)]
        """The start and every result so far."""
        self._turn = 0

    async def respond(self, messages: Sequence[Message]) -> Reply:
        self._values += [number for message in messages if (number := _result(message)) is not None]
        return Reply(self._next())

    def trace(self) -> None:
        return None

    def close(self) -> None:
        return None

    def _next(self) -> Message:
        turn, self._turn = self._turn, self._turn + 1
        if turn == 0 and self._happens(self._habits.guess):
            return _boxed(self._chance.choice(self._numbers()))
        if turn == len(self._steps) or (turn > 0 and self._happens(self._habits.give_up)):
            wrong = self._happens(self._habits.wrong_box)
            return _boxed(self._chance.choice(self._numbers()) if wrong else self._values[-1])
        return assistant(calls=[self._call(self._steps[turn])])

    def _call(self, step: Step) -> ToolCall:
        tool = self._tool(step.operation)
        stale = len(self._values) > 1 and self._happens(self._habits.stale)
        value = self._values[-2] if stale else self._values[-1]
        given = arguments(tool, value, step.operands)
        if self._happens(self._habits.swap) and len(given) == 2:
            (first, left), (second, right) = given.items()
            given = {first: right, second: left}
        return call(tool, **given)

    def _tool(self, right: str) -> str:
        habits = self._habits
        weak = right in WEAK
        likely = habits.weak_right if weak else habits.strong_right
        favourite = habits.weak_favourite if weak else habits.strong_favourite
        drawn = self._chance.random()
        if drawn < likely:
            return right
        if drawn < likely + favourite:
            return FAVOURITE_MISTAKE[right]
        return self._chance.choice([name for name in OPERATIONS if name not in (right, FAVOURITE_MISTAKE[right])])

    def _numbers(self) -> list[Number]:
        """The numbers of the question."""
        return [self._values[0], *(operand for step in self._steps for operand in step.operands)]

    def _happens(self, probability: float) -> bool:
        return self._chance.random() < probability


@dataclass(frozen=True)
class NoisyTeacher(Teacher):
    """Demonstrates with mistakes, right or wrong."""

    habits: Habits
    task: Task
    toolbox: Toolbox
    limits: EpisodeLimits
    seed: int
    name: str = "noisy-demonstrator"

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        episodes = [
            EpisodeRequest(
                id=f"{problem.id}/noisy-demonstrator",
                problem=problem,
                tools=self.toolbox.tools(problem),
                # the label of the random stream that the shipped student was made from
                seed=derive_seed(self.seed, "novice", problem.id),
            )
            for problem in problems
        ]
        agent = NoisyDemonstrator(self.habits)
        for trajectory in await run_episodes(agent, episodes, task=self.task, toolbox=self.toolbox, limits=self.limits):
            yield Demonstration.of(trajectory, teacher=self.name)


def _boxed(number: Number) -> Message:
    return assistant(rf"\boxed{{{written(number)}}}")


def _result(message: Message) -> Number | None:
    """The number a tool gave, or None."""
    if message.result is None or not message.result.ok:
        return None
    value = read_number(message.result.content)
    return None if value is None else int(value) if value == int(value) else value
