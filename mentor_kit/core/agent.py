"""Agents: whoever plays the assistant. A policy, a server, a script, a person at the keyboard.

    Agent ──start(episode)──> AgentSession ──respond(messages)──> Reply, Reply, …   (one AgentSession an episode)

The rollout (`mentor_kit.rollout`) runs the tools and keeps the dialogue; an agent only speaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mentor_kit.core.conversation import Message
from mentor_kit.core.task import Problem
from mentor_kit.core.tool import Tool
from mentor_kit.core.trajectory import TokenTrace


@dataclass(frozen=True)
class EpisodeRequest:
    """One episode to play."""

    id: str
    """Unique among the episodes played together; the trajectory gets it."""
    problem: Problem
    tools: Mapping[str, Tool]
    seed: int
    """0 <= seed < 2**64; everything random in the episode follows from it."""


@dataclass(frozen=True)
class Reply:
    """The next assistant turn."""

    message: Message
    """Its tool calls are in state PARSED or MALFORMED: checking and running them is the rollout's work."""
    finish: Literal["stop", "length", "context", "refused"] = "stop"
    """stop: finished by itself; length: cut by the token limit of the turn or response;
    context: the messages did not fit into the context, and nothing was said;
    refused: whoever speaks for the agent would not go on with this dialogue, and what was said does not count."""
    reason: str = ""
    """Why there is no whole turn, where that is known: one line."""


class AgentSession(Protocol):
    """An agent in one episode."""

    async def respond(self, messages: Sequence[Message]) -> Reply:
        """The next turn, given the messages since the last one (the opening messages the first time)."""
        ...

    def trace(self) -> TokenTrace | None:
        """The tokens of the episode so far, for a policy; None for agents without tokens."""
        ...

    def close(self) -> None:
        """End the episode and free what it holds."""
        ...


class Agent(Protocol):
    """Starts sessions."""

    @property
    def name(self) -> str:
        """How the agent is called in trajectories and reports."""
        ...

    def start(self, episode: EpisodeRequest) -> AgentSession:
        """A session for one episode."""
        ...


@dataclass(frozen=True)
class EpisodeLimits:
    """How far an episode may go; see the recipe's `rollout`."""

    max_turns: int = 5
    """Assistant turns."""
    max_turn_tokens: int = 512
    """Sampled tokens of one turn."""
    max_response_tokens: int = 2048
    """All tokens after the first prompt: sampled ones, tool results and the template's own."""
    max_result_tokens: int = 256
    """Tokens of one tool result; longer ones are cut with a visible mark."""
