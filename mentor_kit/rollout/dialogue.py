"""A dialogue with an agent that goes on question by question, with tools that keep their state all along.

    ask ──> respond, run tools, respond … ──> ask again, or back: as before the last question

It is an episode (`mentor_kit.rollout.episode`) whose user is at the keyboard: the same turns, calls, limits and tokens.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mentor_kit.core.agent import Agent, AgentSession, EpisodeRequest
from mentor_kit.core.conversation import Message, ToolCall, ToolResult, user
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.toolbox import ToolSession
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.rollout.episode import EpisodeRules, converse
from mentor_kit.rollout.tools import run_call


@dataclass(frozen=True)
class _Place:
    """Where a dialogue was before a question."""

    session: AgentSession | None
    messages: tuple[Message, ...]
    ending: Ending
    reason: str


class _TypedQuestions(Task):
    """Questions without a key, asked by a person."""

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        return ()

    def answer(self, trajectory: Trajectory) -> str | None:
        return None

    def check(self, answer: str, problem: Problem) -> bool:
        return False


class LiveDialogue:
    """A dialogue of one agent.

    All methods belong to one event loop. A question that is cancelled, or that raises, leaves the dialogue as it was
    before it.

    Args:
        agent: answers.
        episode: its id, seed, tools and problem; the problem's question is replaced by the first one that is asked.
        rules: the task's; what a person types has no verdict, and the limit of turns holds for each question.
    """

    def __init__(self, agent: Agent, episode: EpisodeRequest, rules: EpisodeRules) -> None:
        self._agent = agent
        self._episode = episode
        self._rules = replace(rules, task=_TypedQuestions())
        self._now = _Place(None, (), Ending.ANSWERED, "")
        self._before: _Place | None = None
        self._tools: ToolSession | None = None
        self._closing = asyncio.Event()
        self._holding: asyncio.Task[None] | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The dialogue so far, the opening included; empty before the first question."""
        return self._now.messages

    @property
    def session(self) -> AgentSession | None:
        """The agent's session; None before the first question."""
        return self._now.session

    @property
    def question(self) -> str | None:
        """The last question; None where there is none, or it was taken back."""
        said = [message.content for message in self.messages if message.role == "user"]
        return said[-1] if said and self._before is not None else None

    async def ask(self, question: str) -> tuple[Ending, str]:
        """Ask a question, and run the agent's calls until it answers without any; how that ended, and why.

        A question that does not fit into the context is taken back.
        """
        tool_session = await self._tool_session()
        before, self._before = self._now, None
        messages = list(before.messages)
        if before.session is None:
            self._episode = replace(
                self._episode, problem=self._episode.problem.model_copy(update={"question": question})
            )
            session, news = self._agent.start(self._episode), list(self._episode.problem.opening())
        else:
            session, news = copy.copy(before.session), [user(question)]
            while messages and messages[-1].role == "tool":  # the last turn that was allowed made calls
                news.insert(0, messages.pop())
        try:
            ending, reason = await converse(session, self._episode, news, messages, tool_session, self._rules)
        except BaseException:
            if before.session is None:
                session.close()
            raise
        if ending in (Ending.CONTEXT_FULL, Ending.REFUSED):
            if before.session is None:
                session.close()
            return ending, reason
        self._before = before
        self._now = _Place(session, tuple(messages), ending, reason)
        return ending, reason

    def back(self) -> str | None:
        """Take the last question back, once; returns it, or None where there is none."""
        question = self.question
        if self._before is None:
            return None
        if self._before.session is None and self._now.session is not None:
            self._now.session.close()
        self._now, self._before = self._before, None
        return question

    async def call(self, call: ToolCall) -> tuple[ToolCall, ToolResult]:
        """Run a call by hand, in the tools' state of this dialogue; the agent does not see it."""
        longest = self._rules.limits.max_result_tokens
        session = await self._tool_session()
        return await run_call(call, self._episode.tools, session, max_result_tokens=longest, cut=self._rules.cut)

    def trajectory(self) -> Trajectory | None:
        """The dialogue as an episode, without a verdict; None before the first question was answered."""
        if self._now.session is None:
            return None
        problem = self._episode.problem
        return Trajectory(
            id=self._episode.id,
            problem_id=problem.id,
            agent=self._agent.name,
            messages=self.messages,
            opening=len(problem.opening()),
            ending=self._now.ending,
            reason=self._now.reason,
            tokens=self._now.session.trace(),
        )

    async def close(self) -> None:
        """End the agent's session and that of the tools."""
        if self._now.session is not None:
            self._now.session.close()
        self._closing.set()
        if self._holding is not None:
            await asyncio.gather(self._holding, return_exceptions=True)

    async def _tool_session(self) -> ToolSession:
        if self._tools is None:
            opened: asyncio.Future[ToolSession] = asyncio.get_running_loop().create_future()
            self._holding = asyncio.create_task(self._hold(opened))
            self._tools = await opened
        return self._tools

    async def _hold(self, opened: asyncio.Future[ToolSession]) -> None:
        """Hold the tools' session open: it is closed by the task that opened it, as some clients demand."""
        try:
            async with self._rules.toolbox.open(self._episode.problem, self._episode.seed) as session:
                opened.set_result(session)
                await self._closing.wait()
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)
