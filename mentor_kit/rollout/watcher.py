"""Base class of those who follow an episode while it runs, such as a chat on a terminal."""

from __future__ import annotations

from mentor_kit.core.agent import Reply
from mentor_kit.core.conversation import ToolCall, ToolResult


class EpisodeWatcher:
    """Follows the turns and calls of an episode; every method is optional. Nothing that it does changes the episode."""

    def replied(self, reply: Reply) -> None:
        """The agent ended a turn; its calls, if any, are not run yet."""
        return None

    def calling(self, call: ToolCall) -> None:
        """A call is about to be checked and run."""
        return None

    def called(self, call: ToolCall, result: ToolResult) -> None:
        """A call is in its final state, and this is its result as the agent reads it."""
        return None


#: Follows nothing.
UNWATCHED = EpisodeWatcher()
