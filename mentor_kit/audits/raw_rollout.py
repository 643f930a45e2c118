"""Runs raw strings, as a model might write them, through the real parser, tools and rollout.

raw turns ──RawAgent──> parser ──> rollout ──> tools, watched ──> RawRollout: trajectory, executed calls
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from mentor_kit.chat.forms import FORMS, Form
from mentor_kit.chat.parsing import HermesParser, Parser, parse
from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest, Reply
from mentor_kit.core.conversation import Message, assistant
from mentor_kit.core.errors import MentorKitError, PluginError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import Toolbox, ToolSession, ToolSource
from mentor_kit.core.trajectory import TokenTrace, Trajectory
from mentor_kit.rollout import run_async, run_episodes

#: Stands for the stop token, whatever the family's is: a turn's text ends there; without it the turn was cut by the
#: token limit.
END = "<|im_end|>"


@dataclass(frozen=True)
class Script:
    """The turns of one episode; after the last one, turns are empty."""

    problem: Problem
    turns: tuple[str, ...]
    result: str | None = None
    """What tools give in place of their own results (a hostile document, for one)."""


@dataclass(frozen=True)
class RawRollout:
    """One episode."""

    script: Script
    trajectory: Trajectory
    executed: tuple[tuple[str, Mapping[str, Json]], ...]
    """The calls that tools executed, in order, as recorded by the tools."""

    @property
    def used_turns(self) -> tuple[str, ...]:
        """The raw turns that were used up."""
        return self.script.turns[: len(self.trajectory.turns)]


@dataclass(frozen=True)
class AuditEnvironment:
    """The environment in which scripts run: a recipe's task, tools and limits."""

    task: Task
    toolbox: Toolbox
    limits: EpisodeLimits
    parser: Parser = field(default_factory=HermesParser)
    form: Form = FORMS["hermes"]
    """The syntax of scripts, which the parser reads."""

    def run(self, scripts: Sequence[Script], *, turns: int = 0) -> list[RawRollout]:
        """Run scripts concurrently; nothing is shared between them.

        Args:
            scripts: the turns of each episode.
            turns: so many turns may be made, where that is more than the recipe allows: some families write every call
                into a turn of its own.

        Raises:
            PluginError: a task or a tool's session raised; the message has its error.
        """
        try:
            return self._play(scripts, turns)
        except MentorKitError:
            raise
        except Exception as error:
            if len(scripts) > 1:
                # run one by one, to find the script at fault
                return [rollout for script in scripts for rollout in self.run([script], turns=turns)]
            raise PluginError(
                f"an episode broke off with {type(error).__name__}: {error}",
                hint=f"a task must take whatever a model says; here: {list(scripts[0].turns)!r:.300}",
            ) from error

    def run_honest(self, scripts: Sequence[Script]) -> list[RawRollout]:
        """Run scripts that take a turn for each call, where the family writes one call a turn."""
        longest = max((len(script.turns) for script in scripts), default=0)
        return self.run(scripts, turns=0 if self.form.several else longest)

    def _play(self, scripts: Sequence[Script], turns: int) -> list[RawRollout]:
        watched = [_Watched(source, scripts) for source in self.toolbox.sources]
        toolbox = Toolbox(watched)
        episodes = [
            EpisodeRequest(id=str(index), problem=script.problem, tools=toolbox.tools(script.problem), seed=index)
            for index, script in enumerate(scripts)
        ]
        agent = RawAgent(
            self.parser, {episode.id: script.turns for episode, script in zip(episodes, scripts, strict=True)}
        )
        limits = replace(self.limits, max_turns=max(turns, self.limits.max_turns))
        found = run_async(run_episodes(agent, episodes, task=self.task, toolbox=toolbox, limits=limits))
        return [
            RawRollout(script, trajectory, tuple(call for watch in watched for call in watch.executed.get(index, ())))
            for index, (script, trajectory) in enumerate(zip(scripts, found, strict=True))
        ]


@dataclass(frozen=True)
class RawAgent:
    """A `mentor_kit.core.agent.Agent` whose turns are raw strings."""

    parser: Parser
    scripts: Mapping[str, Sequence[str]]
    """The turns by the episode's id."""
    name: str = "raw"

    def start(self, episode: EpisodeRequest) -> RawSession:
        return RawSession(self.parser, self.scripts[episode.id], episode.tools)


class RawSession:
    """One episode of raw strings."""

    def __init__(self, parser: Parser, turns: Sequence[str], tools: Mapping[str, Tool]) -> None:
        self._parser = parser
        self._turns = iter(turns)
        self._tools = tools

    async def respond(self, messages: Sequence[Message]) -> Reply:
        text = next(self._turns, None)
        if text is None:
            return Reply(assistant())
        content, end, _ = text.partition(END)
        return Reply(parse(self._parser, content, self._tools), finish="stop" if end else "length")

    def trace(self) -> TokenTrace | None:
        return None

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class _Watched(ToolSource):
    """A `mentor_kit.core.toolbox.ToolSource` that records the calls its tools executed, by the episode's seed."""

    source: ToolSource
    scripts: Sequence[Script]
    executed: dict[int, list[tuple[str, Mapping[str, Json]]]] = field(default_factory=dict)

    def tools(self, problem: Problem) -> Sequence[Tool]:
        return self.source.tools(problem)

    @asynccontextmanager
    async def open(self, problem: Problem, seed: int) -> AsyncIterator[ToolSession]:
        noted = self.executed.setdefault(seed, [])
        async with self.source.open(problem, seed) as session:
            yield _WatchedSession(session, noted, self.scripts[seed].result)


@dataclass(frozen=True)
class _WatchedSession:
    session: ToolSession
    noted: list[tuple[str, Mapping[str, Json]]]
    result: str | None

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        value = await self.session.call(name, arguments)
        self.noted.append((name, arguments))
        return value if self.result is None else self.result
