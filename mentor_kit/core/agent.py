"""The agent contract: an agent writes the assistant's turns of an episode.

    Agent ──start(episode)──> AgentSession ──respond(messages)──> Reply, Reply, …   (one session per episode)

Agents are a policy, a server, a script or a person at the keyboard. The rollout (`mentor_kit.rollout`) runs the tools
and keeps the dialogue.
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
    """A request to an agent to start an episode."""

    id: str
    """Unique among the episodes that run together; becomes the trajectory's id."""
    problem: Problem
    tools: Mapping[str, Tool]
    seed: int
    """0 <= seed < 2**64; everything random in the episode follows from it."""


@dataclass(frozen=True)
class Reply:
    """The next assistant turn."""

    message: Message
    """Its tool calls are in state PARSED or MALFORMED; the rollout checks and runs them."""
    finish: Literal["stop", "length", "context", "refused"] = "stop"
    """stop: the agent ended the turn; length: the turn reached the token limit of the turn or the response;
    context: the messages do not fit into the context length, and `message` is empty;
    refused: the server behind the agent rejected this dialogue, and `message` does not count."""
    reason: str = ""
    """Why the turn is incomplete, in one line; empty where unknown."""


class AgentSession(Protocol):
    """An agent's state in one episode.

    A chat goes back to where it was before a question by `copy.copy`: a session that changes something that its copy
    would share, such as a list, has a `__copy__`.
    """

    async def respond(self, messages: Sequence[Message]) -> Reply:
        """Return the next turn, given the messages since the last one (the first time, the opening messages)."""
        ...

    def trace(self) -> TokenTrace | None:
        """Return the episode's tokens so far; None for agents without tokens."""
        ...

    def close(self) -> None:
        """End the session and free its resources."""
        ...


class Agent(Protocol):
    """Starts one session per episode."""

    @property
    def name(self) -> str:
        """The agent's name in trajectories and reports."""
        ...

    def start(self, episode: EpisodeRequest) -> AgentSession:
        """Open a session for one episode."""
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
