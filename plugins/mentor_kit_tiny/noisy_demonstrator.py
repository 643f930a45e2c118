"""The teacher `noisy-demonstrator`: an agent that makes mistakes at given rates.

Its transcripts train the tiny student. It calls one tool a step, as a solver does, but picks wrong tools, swaps
arguments, uses stale values, gives up early and boxes wrong values, each with a probability of its own. Where its
favourite mistake is more likely than the right tool, a student trained on its transcripts is wrong greedily but still
samples the right tool: RL can then raise it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

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


class Habits(OptionModel):
    """Probabilities of the noisy demonstrator's mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weak_right: float = Field(default=0.28, ge=0, le=1)
    """The right tool, for the steps where the favourite mistake is preferred."""
    weak_favourite: float = Field(default=0.52, ge=0, le=1)
    """Its favourite mistake there; any other tool takes the rest."""
    strong_right: float = Field(default=0.70, ge=0, le=1)
    """The right tool, for the other steps."""
    strong_favourite: float = Field(default=0.15, ge=0, le=1)
    """Its favourite mistake there."""
    guess: float = Field(default=0.08, ge=0, le=1)
    """Answer at once, without a tool."""
    give_up: float = Field(default=0.10, ge=0, le=1)
    """Before each step but the first: answer with the value reached so far."""
    swap: float = Field(default=0.12, ge=0, le=1)
    """Exchange the two arguments of a call."""
    stale: float = Field(default=0.08, ge=0, le=1)
    """Work on the value before the last one."""
    wrong_box: float = Field(default=0.08, ge=0, le=1)
    """Box a value of the question in place of the result."""

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


class NoisyWorld(Protocol):
    """A problem as the noisy demonstrator works on it, a step after the other, each on the value reached so far.

    A task has a method `noisy_world(problem)` that gives one; values are of any type that the world understands.
    """

    start: Any
    """The value before the first step."""
    steps: Sequence[Any]
    tools: Sequence[str]
    """The names of all tools, in a fixed order."""
    guesses: Sequence[Any]
    """Values that stand in the question; a guess is one of them."""

    def right(self, step: Any) -> str:
        """The tool of a step."""

    def favourite(self, step: Any) -> str:
        """The wrong tool that the demonstrator likes best there."""

    def is_weak(self, step: Any) -> bool:
        """Whether it prefers that one to the right one, with `habits`."""

    def arguments(self, tool: str, value: Any, step: Any) -> dict[str, Any]:
        """A tool's arguments on a value at a step, be it the step's own tool or a wrong one."""

    def read(self, result: str) -> Any:
        """The value in a tool's result; None if there is none."""

    def written(self, value: Any) -> str:
        """A value as an answer has it."""


WorldOf = Callable[[Problem], NoisyWorld]


@dataclass(frozen=True)
class NoisyDemonstrator:
    """A `mentor_kit.core.agent.Agent`."""

    habits: Habits
    world_of: WorldOf
    name: str = "noisy-demonstrator"
    costly = False

    def start(self, episode: EpisodeRequest) -> NoisyDemonstratorSession:
        return NoisyDemonstratorSession(self.habits, self.world_of(episode.problem), episode.seed)


class NoisyDemonstratorSession:
    """One episode of the noisy demonstrator."""

    def __init__(self, habits: Habits, world: NoisyWorld, seed: int) -> None:
        self._habits = habits
        self._world = world
        self._chance = random.Random(seed)
        self._values: list[Any] = [world.start]
        """The start and every result so far."""
        self._turn = 0

    async def respond(self, messages: Sequence[Message]) -> Reply:
        results = [message.result for message in messages if message.result is not None and message.result.ok]
        values = [self._world.read(result.content) for result in results]
        self._values += [value for value in values if value is not None]
        return Reply(self._next())

    def trace(self) -> None:
        return None

    def close(self) -> None:
        return None

    def _next(self) -> Message:
        turn, self._turn = self._turn, self._turn + 1
        steps = self._world.steps
        if turn == 0 and self._happens(self._habits.guess):
            return self._boxed(self._chance.choice(self._world.guesses))
        if turn == len(steps) or (turn > 0 and self._happens(self._habits.give_up)):
            wrong = self._happens(self._habits.wrong_box)
            return self._boxed(self._chance.choice(self._world.guesses) if wrong else self._values[-1])
        return assistant(calls=[self._call(steps[turn])])

    def _call(self, step: Any) -> ToolCall:
        tool = self._tool(step)
        stale = len(self._values) > 1 and self._happens(self._habits.stale)
        value = self._values[-2] if stale else self._values[-1]
        given = self._world.arguments(tool, value, step)
        if self._happens(self._habits.swap) and len(given) > 1:
            *_, (first, left), (second, right) = given.items()
            given = {**given, first: right, second: left}
        return call(tool, **given)

    def _tool(self, step: Any) -> str:
        habits, world = self._habits, self._world
        right, favourite, weak = world.right(step), world.favourite(step), world.is_weak(step)
        likely = habits.weak_right if weak else habits.strong_right
        liked = habits.weak_favourite if weak else habits.strong_favourite
        drawn = self._chance.random()
        if drawn < likely:
            return right
        if drawn < likely + liked:
            return favourite
        return self._chance.choice([name for name in world.tools if name not in (right, favourite)])

    def _boxed(self, value: Any) -> Message:
        return assistant(rf"\boxed{{{self._world.written(value)}}}")

    def _happens(self, probability: float) -> bool:
        return self._chance.random() < probability


@dataclass(frozen=True)
class NoisyTeacher(Teacher):
    """Demonstrates with mistakes, right or wrong."""

    habits: Habits
    world_of: WorldOf
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
        agent = NoisyDemonstrator(self.habits, self.world_of)
        for trajectory in await run_episodes(agent, episodes, task=self.task, toolbox=self.toolbox, limits=self.limits):
            yield Demonstration.of(trajectory, teacher=self.name)
