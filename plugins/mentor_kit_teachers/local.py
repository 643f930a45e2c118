"""The teacher `local`: a model on any backend, played like a student that nobody trains."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mentor_kit.actor import Scene
from mentor_kit.chat import ChatFormat, load_chat_format
from mentor_kit.demonstration import Demonstration, Teacher
from mentor_kit.hooks import BuildContext
from mentor_kit.policy import Backend, Policy, StudentSpec, derive_seed
from mentor_kit.record import Json
from mentor_kit.rollout import EngineSampler, PolicyActor, Sampling, play
from mentor_kit.task import Problem
from mentor_kit.trajectory import Trajectory
from mentor_kit_teachers.collection import Attempts, Tally, fall_back
from mentor_kit_teachers.local_options import LocalOptions

NAME = "local"


def local(options: LocalOptions, context: BuildContext) -> LocalTeacher:
    """The teacher for a recipe; the model is loaded when it is first asked."""
    backend: Backend = context.registry.build("backends", options.backend, context)
    return LocalTeacher(options, context, backend, options.fallback_teacher(context))


@dataclass
class LocalTeacher:
    """A `mentor_kit.demonstration.Teacher`: all problems' first attempts together, then the second ones."""

    options: LocalOptions
    context: BuildContext
    backend: Backend
    fallback: Teacher | None = None
    name: str = NAME
    tally: Tally = field(default_factory=Tally)

    def account(self) -> dict[str, Json]:
        """What was asked, for the stage's summary."""
        return self.tally.account()

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        everyone = [Attempts(problem, self.options) for problem in problems]
        while wanted := [attempts for attempts in everyone if attempts.wanted]:
            await self._round(wanted)
        missing = [attempts.problem for attempts in everyone if not attempts.right]
        for attempts in everyone:
            for demonstration in attempts.kept(self.tally):
                yield demonstration
        if missing and self.fallback is not None:
            for demonstration in await fall_back(self.fallback, missing, self.options):
                yield demonstration

    async def play(self, problems: Sequence[Problem], episodes: int) -> list[Trajectory]:
        """As `mentor_kit.demonstration.Plays`, at the options' temperature."""
        everyone = [Attempts(problem, self.options) for problem in problems]
        for _ in range(episodes):
            await self._round(everyone)
        return [shown.trajectory for attempts in everyone for shown in attempts.made if shown.trajectory is not None]

    async def _round(self, wanted: Sequence[Attempts]) -> None:
        """One more attempt at each of the problems."""
        toolbox = self.context.need_toolbox()
        scenes = [
            Scene(
                id=f"{attempts.problem.id}#{self.name}-{len(attempts.made)}",
                problem=attempts.problem,
                tools=toolbox.tools(attempts.problem),
                seed=derive_seed(self.options.seed, self.name, attempts.problem.id, len(attempts.made)),
            )
            for attempts in wanted
        ]
        played = await play(
            self._actor(),
            scenes,
            task=self.context.need_task(),
            toolbox=toolbox,
            limits=self.context.limits,
            cut=self._format.truncate,
        )
        for attempts, trajectory in zip(wanted, played, strict=True):
            provenance = {"source": self.options.model, "attempt": len(attempts.made), "seed": self.options.seed}
            attempts.made.append(Demonstration.of(trajectory, teacher=self.name, provenance=provenance))

    def _actor(self) -> PolicyActor:
        options = self.options
        return PolicyActor(
            name=self.name,
            format=self._format,
            sampler=EngineSampler(self._policy.engine()),
            sampling=Sampling(options.temperature, options.top_p, options.top_k),
            limits=self.context.limits,
            context=self._policy.info.context,
        )

    @cached_property
    def _model(self) -> str:
        from mentor_kit.recipe.assembly import find_model

        return find_model(
            self.options.model, self.context.recipe_folder, self.context.registry, self.context, key="teacher.model"
        )

    @cached_property
    def _format(self) -> ChatFormat:
        options = self.options
        return load_chat_format(
            self._model,
            chat_template=options.chat_template,
            folder=self.context.recipe_folder,
            revision=options.revision,
            variables=options.template_variables,
        )

    @cached_property
    def _policy(self) -> Policy:
        return self.backend.load(StudentSpec(self._model, self.options.revision), self.options.seed)
