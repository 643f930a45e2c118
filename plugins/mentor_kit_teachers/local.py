"""The teacher `local`: a model on any backend that runs episodes as a student does, without training.

It demonstrates. Where it has the student's tokens, it also gives their log-probabilities (distillation).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property

from mentor_kit.backend.hosted_model import HostedModel
from mentor_kit.backend.policy import Backend, Policy
from mentor_kit.backend.sampling_service import SamplingService
from mentor_kit.backend.served_policy import serve
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import Floats, TokenGroup
from mentor_kit.chat import ChatFormat, ChatTokenizer, load_chat_format
from mentor_kit.chat.tokenizer import unread_tokens
from mentor_kit.core.agent import Agent, EpisodeRequest
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks import BuildContext
from mentor_kit.rollout import PolicyAgent, Sampling, run_episodes
from mentor_kit.stages.distillation import TokenTeacher
from mentor_kit.utils.randomness import derive_seed
from mentor_kit_teachers.collection import Attempts, Tally, fall_back
from mentor_kit_teachers.local_options import LocalOptions

NAME = "local"


def local(options: LocalOptions, context: BuildContext) -> LocalTeacher:
    """The teacher for a recipe; the model is loaded on first use."""
    registry = context.registry
    backend: Backend = registry.build("backends", options.backend, context, base=Backend)
    service: SamplingService | None = None
    if options.sampler is not None:
        service = registry.build("samplers", options.sampler, context, base=SamplingService)
    return LocalTeacher(options, context, backend, options.fallback_teacher(context), service)


@dataclass
class LocalTeacher(TokenTeacher):
    """The teacher `local`: all problems' first attempts together, then the second ones."""

    options: LocalOptions
    context: BuildContext
    backend: Backend
    fallback: Teacher | None = None
    service: SamplingService | None = None
    """Samples in the place of the backend's engine."""
    name: str = NAME
    tally: Tally = field(default_factory=Tally)

    def account(self) -> dict[str, Json]:
        """The counts for the stage's summary."""
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

    async def rollouts(self, problems: Sequence[Problem], episodes: int) -> list[Trajectory]:
        """As for every teacher, at the options' temperature."""
        everyone = [Attempts(problem, self.options) for problem in problems]
        for _ in range(episodes):
            await self._round(everyone)
        return [shown.trajectory for attempts in everyone for shown in attempts.made if shown.trajectory is not None]

    @asynccontextmanager
    async def open_agent(self) -> AsyncIterator[Agent]:
        """The model at the options' temperature; it is loaded now."""
        yield self._agent(deterministic=False)

    def model_hosts(self) -> Sequence[object]:
        """Itself, and those of its fallback."""
        return self, *(() if self.fallback is None else self.fallback.model_hosts())

    def hosted_model(self) -> HostedModel:
        """The model, which is here even where a sampler has a copy of it elsewhere."""
        return HostedModel(self.backend, StudentSpec(self._model, self.options.revision), samples=self.service is None)

    def hold_to(self, memory: int) -> None:
        """Hold the model to so many bytes of its device."""
        self.backend = self.backend.held_to(memory)

    def close(self) -> None:
        """Free what its sampler and the fallback hold."""
        if self.service is not None:
            self.service.close()
        if self.fallback is not None:
            self.fallback.close()

    def check_tokens(self, tokenizer: ChatTokenizer) -> None:
        """Refuse a student whose tokens have other ids in the model; the model may have more.

        Raises:
            UsageError: the model lacks a token of the student's, or has it under another id.
        """
        own = self._format.tokenizer.vocabulary
        unread = unread_tokens(tokenizer.vocabulary, own)
        if unread:
            first = unread[0]
            there = f"is {own[first]} there" if first in own else "is none there"
            raise UsageError(
                f"the teacher {self.options.model!r} has another tokenizer than the student {tokenizer.name!r}: "
                f"{len(unread):,} of {len(tokenizer.vocabulary):,} tokens differ, such as {first!r}, "
                f"which is {tokenizer.vocabulary[first]} here and {there}",
                hint="distil from a model of the student's family; one with other tokens can still demonstrate: "
                "leave the objective's `distill` at 0",
            )

    def log_probs(self, groups: Sequence[TokenGroup]) -> list[list[Floats]]:
        """The model's log-probabilities of the groups' tokens, at their temperature; 0.0 where the mask is 0.

        Raises:
            DataError: a dialogue is longer than the model's context.
        """
        longest = max((len(g.prompt_ids) + len(c.ids) for g in groups for c in g.completions), default=0)
        if longest > self._policy.info.context:
            raise DataError(
                f"the teacher {self.options.model!r} cannot read a dialogue of {longest} tokens: "
                f"its context has {self._policy.info.context}",
                hint="lower `rollout.max_response_tokens`, or take a teacher with a longer context",
            )
        return self._policy.log_probs(groups)

    async def _round(self, wanted: Sequence[Attempts]) -> None:
        """One more attempt at each of the problems."""
        toolbox = self.context.need_toolbox()
        requests = [
            EpisodeRequest(
                id=f"{attempts.problem.id}#{self.name}-{len(attempts.made)}",
                problem=attempts.problem,
                tools=toolbox.tools(attempts.problem),
                seed=derive_seed(self.options.seed, self.name, attempts.problem.id, len(attempts.made)),
            )
            for attempts in wanted
        ]
        trajectories = await run_episodes(
            self._agent(),
            requests,
            task=self.context.need_task(),
            toolbox=toolbox,
            limits=self.context.limits,
            cut=self._format.truncate,
        )
        for attempts, trajectory in zip(wanted, trajectories, strict=True):
            provenance = {"source": self.options.model, "attempt": len(attempts.made), "seed": self.options.seed}
            attempts.made.append(Demonstration.of(trajectory, teacher=self.name, provenance=provenance))

    def _agent(self, *, deterministic: bool = True) -> PolicyAgent:
        options = self.options
        return PolicyAgent(
            name=self.name,
            format=self._format,
            sampler=self._policy.sampler(deterministic=deterministic),
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
            registry=self.context.registry,
        )

    @cached_property
    def _policy(self) -> Policy:
        model = self.hosted_model().model
        policy = self.backend.load(model, self.options.seed)
        if self.service is None or self.options.sampler is None:
            return policy
        return serve(policy, self.service, model, self.options.sampler.use)
