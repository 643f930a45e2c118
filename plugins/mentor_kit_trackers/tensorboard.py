"""The writer of `tensorboard`: event files, by tensorboardX.

An event file is only appended to, and TensorBoard shows whatever is in it. So a resumed run's file is written anew from
the run folder: it has each step once, with the run's own values.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mentor_kit.hooks.tracker import Outcome
from mentor_kit_trackers.curves import Point
from mentor_kit_trackers.options import TensorBoardOptions
from mentor_kit_trackers.rollouts import TrackedRollout, as_text
from mentor_kit_trackers.writer import Level, Writer

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

#: Seconds until what was written is in the file.
_FLUSH_SECONDS = 1


class TensorBoardWriter(Writer[TensorBoardOptions]):
    """Writes an event file."""

    OPTIONS = TensorBoardOptions
    _events: SummaryWriter

    def load(self) -> None:
        import tensorboardX  # noqa: F401 (the import is what takes time)

    def open(self) -> bool:
        from tensorboardX import SummaryWriter

        folder, root = self._folders()
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
        self._events = SummaryWriter(str(folder), flush_secs=_FLUSH_SECONDS)
        self._events.add_text("recipe", _code((self.run.folder / "recipe.yaml").read_text(encoding="utf-8")), 0)
        self.note(f"tensorboard: `tensorboard --logdir {os.path.relpath(root)}` shows the run")
        return False

    def point(self, point: Point) -> None:
        for name, value in point.values.items():
            self._events.add_scalar(name, value, point.step, walltime=point.time)

    def rollouts(self, series: str, step: int, rollouts: Sequence[TrackedRollout]) -> None:
        text = "\n\n".join(_markdown(rollout) for rollout in rollouts)
        self._events.add_text(f"{series}/rollouts", text, step)

    def message(self, title: str, text: str, step: int | None, time: float, level: Level) -> None:
        self._events.add_text(f"messages/{title}", text, step or 0, walltime=time)

    def close(self, outcome: Outcome) -> None:
        self._events.close()

    def _folders(self) -> tuple[Path, Path]:
        """The folder of the run's file, and the one that TensorBoard is started with."""
        if self.options.folder is not None:
            root = self.options.folder.expanduser().resolve()
            return root / self.run.name / self.run.id, root
        return self.run.folder / "tensorboard", self.run.folder.parent.parent


def _markdown(rollout: TrackedRollout) -> str:
    trajectory, reward = rollout.scored.trajectory, rollout.scored.reward
    verdict = "correct" if trajectory.correct else "wrong"
    found = [f"**{trajectory.id}**: reward {reward.total:.3f}, answer {trajectory.answer!r}, {verdict}"]
    found.append(_code(as_text(trajectory.messages)))
    if rollout.demonstrated is not None:
        found += ["the teacher:", _code(as_text(rollout.demonstrated.messages))]
    return "\n\n".join(found)


def _code(text: str) -> str:
    """Text as a block of code in Markdown, whatever is in it."""
    return "\n".join(f"    {line}" for line in text.splitlines())
