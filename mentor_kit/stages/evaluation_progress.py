"""The progress of an evaluation: how many of its episodes have ended."""

from __future__ import annotations

from dataclasses import dataclass

from mentor_kit.stages.context import StageContext


@dataclass
class EvaluationProgress:
    """Counts ended episodes and shows them to the user, beginning with none; shows nothing of a total of 0."""

    context: StageContext
    total: int
    done: int = 0

    def __post_init__(self) -> None:
        self._show()

    def ended(self, episodes: int = 1) -> None:
        """Count ended episodes."""
        for _ in range(episodes):
            self.done += 1
            self._show()

    def _show(self) -> None:
        if self.total:
            self.context.progress(self.done, self.total, episodes=self.done)
