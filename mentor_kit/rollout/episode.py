"""Runs episodes: one from the opening messages to the verdict, and many concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from mentor_kit.core.agent import Agent, AgentSession, EpisodeLimits, EpisodeRequest, Reply
from mentor_kit.core.conversation import Message, tool_result, user
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.toolbox import Toolbox, ToolSession, check_call
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.rollout.tools import Cut, cut_by_characters, run_call
from mentor_kit.rollout.verdict import is_right
from mentor_kit.rollout.watcher import UNWATCHED, EpisodeWatcher

T = TypeVar("T")


@dataclass(frozen=True)
class EpisodeRules:
    """What all episodes have in common."""

    task: Task
    toolbox: Toolbox
    limits: EpisodeLimits
    cut: Cut = cut_by_characters
    watcher: EpisodeWatcher = UNWATCHED
    """Follows the episodes; of use where they run one at a time."""


async def run_episodes(
    agent: Agent,
    episodes: Sequence[EpisodeRequest],
    *,
    task: Task,
    toolbox: Toolbox,
    limits: EpisodeLimits,
    cut: Cut = cut_by_characters,
    ended: Callable[[], None] | None = None,
    watcher: EpisodeWatcher = UNWATCHED,
) -> list[Trajectory]:
    """Run all episodes concurrently; return their trajectories in the order of the requests.

    `ended` is called after each, and `watcher` follows their turns and calls.

    An error of the agent or the task ends all episodes and is raised as it is; a tool's error is a failed call.
    """
    rules = EpisodeRules(task=task, toolbox=toolbox, limits=limits, cut=cut, watcher=watcher)
    waiting: dict[str, AgentSession] = {}
    running: list[asyncio.Task[Trajectory]] = []

    async def run(episode: EpisodeRequest) -> Trajectory:
        session = waiting.pop(episode.id)
        try:
            trajectory = await _episode(agent, session, episode, rules)
            if ended is not None:
                ended()
            return trajectory
        except BaseException:
            # before this session closes: its sampler would draw one more turn for episodes that are cancelled
            _cancel(running)
            raise
        finally:
            session.close()

    try:
        # all sessions start before any responds: a sampler's barriers count every episode
        for episode in episodes:
            waiting[episode.id] = agent.start(episode)
        running.extend(asyncio.create_task(run(episode)) for episode in episodes)
        return list(await asyncio.gather(*running))
    finally:
        _cancel(running)
        await asyncio.gather(*running, return_exceptions=True)
        for session in waiting.values():
            session.close()


async def run_episode(agent: Agent, episode: EpisodeRequest, rules: EpisodeRules) -> Trajectory:
    """Run one episode apart from others; return its trajectory. Errors as of `run_episodes`."""
    session = agent.start(episode)
    try:
        return await _episode(agent, session, episode, rules)
    finally:
        session.close()


def _cancel(running: Sequence[asyncio.Task[Trajectory]]) -> None:
    for task in running:
        task.cancel()


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from ordinary code, inside a notebook's event loop too."""
    return outside_event_loop(lambda: asyncio.run(work))


def outside_event_loop(function: Callable[[], T]) -> T:
    """Call a function where no event loop runs: in a thread of its own, if one runs here, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(function).result()


async def _episode(agent: Agent, session: AgentSession, episode: EpisodeRequest, rules: EpisodeRules) -> Trajectory:
    dialogue: list[Message] = []
    async with rules.toolbox.open(episode.problem, episode.seed) as tool_session:
        opening = episode.problem.opening()
        ending, reason = await converse(session, episode, opening, dialogue, tool_session, rules)
    trajectory = Trajectory(
        id=episode.id,
        problem_id=episode.problem.id,
        agent=agent.name,
        messages=tuple(dialogue),
        opening=len(episode.problem.opening()),
        ending=ending,
        reason=reason,
        tokens=session.trace(),
    )
    return judge(trajectory, episode.problem, rules.task)


async def converse(
    session: AgentSession,
    episode: EpisodeRequest,
    news: Sequence[Message],
    dialogue: list[Message],
    tool_session: ToolSession,
    rules: EpisodeRules,
) -> tuple[Ending, str]:
    """Respond, run tools, respond …; fills `dialogue` and says how it ended, and why if there is a reason.

    Args:
        session: the agent's.
        episode: the episode.
        news: the messages that the agent has not read yet: the opening ones, or a further question.
        dialogue: the messages before these.
        tool_session: runs the calls.
        rules: of the episode.
    """
    for _ in range(rules.limits.max_turns):
        dialogue.extend(news)
        reply = await session.respond(news)
        rules.watcher.replied(reply)
        if reply.finish == "context":
            return Ending.CONTEXT_FULL, reply.reason
        if reply.finish == "refused":
            return Ending.REFUSED, reply.reason
        if reply.finish == "length":
            dialogue.append(_checked(reply, episode))
            return Ending.LENGTH, reply.reason
        if rules.task.calls_are_answers and rules.task.is_over(episode.problem, (*dialogue, reply.message)):
            dialogue.append(_checked(reply, episode))
            return Ending.ANSWERED, ""
        turn, news = await _run_tools(reply.message, episode, tool_session, rules)
        dialogue.append(turn)
        if not news:
            words = rules.task.next_user(episode.problem, dialogue)
            if words is None:
                return Ending.ANSWERED, ""
            news = [user(words)]
    dialogue.extend(news)
    return Ending.MAX_TURNS, ""


async def _run_tools(
    turn: Message, episode: EpisodeRequest, tool_session: ToolSession, rules: EpisodeRules
) -> tuple[Message, list[Message]]:
    """The turn with its calls in their final states, and the messages with their results."""
    longest = rules.limits.max_result_tokens
    calls, results = [], []
    for parsed in turn.tool_calls:
        rules.watcher.calling(parsed)
        call, result = await run_call(parsed, episode.tools, tool_session, max_result_tokens=longest, cut=rules.cut)
        rules.watcher.called(call, result)
        calls.append(call)
        results.append(tool_result(result))
    return turn.model_copy(update={"tool_calls": tuple(calls)}), results


def _checked(reply: Reply, episode: EpisodeRequest) -> Message:
    """A turn whose calls are never run: they are checked, so that statistics know them."""
    calls = tuple(check_call(call, episode.tools) for call in reply.message.tool_calls)
    return reply.message.model_copy(update={"tool_calls": calls})


def judge(trajectory: Trajectory, problem: Problem, task: Task) -> Trajectory:
    """The trajectory with the task's verdict; one that did not end has no answer, unless calls are the answer."""
    answer = task.answer(trajectory) if trajectory.ended or task.calls_are_answers else None
    correct = answer is not None and is_right(answer, problem, task)
    return trajectory.model_copy(update={"answer": answer, "correct": correct})
