r"""Base class of trackers, which record a run's events, such as a dashboard, a log file or a terminal display.

A tracker that writes events to a file of its own, where a resumed run neither doubles nor loses one:

    class EventsFile(Tracker):
        def start(self, run):
            self.path = run.folder / "followed.jsonl"
            seen = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
            self.path.write_text("".join(seen[: run.events]))

        def event(self, event):
            with self.path.open("a") as file:
                file.write(f"{event.to_json()}\n")

    @hookimpl
    def register_trackers(register):
        register("events-file", build=lambda options, context: EventsFile())
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mentor_kit.core.event import Event
from mentor_kit.core.frozen_model import Json
from mentor_kit.rl.reward import Scored

#: How a run ended: every stage is done, an error ended it, or the user stopped it.
Outcome = Literal["done", "failed", "interrupted"]


@dataclass(frozen=True)
class TrackedRun:
    """The run that a tracker follows, and the point from which it goes on."""

    name: str
    """The recipe's name."""
    id: str
    """The run's own name among those of the recipe, such as `20261124-134501-a3f9`; a resumed run keeps it."""
    folder: Path
    """The run folder."""
    recipe: Mapping[str, Json]
    """The expanded recipe as plain data, without secrets."""
    stages: tuple[str, ...]
    """Keys of all stages, in order, such as `0-sft`, `1-grpo`."""
    from_stage: str = ""
    """The stage whose checkpoint the run was resumed from; empty where it begins at the beginning."""
    from_step: int = 0
    """The step of that checkpoint: the next step of `from_stage` is `from_step + 1`."""
    events: int = 0
    """How many lines of `events.jsonl` come before the first one that the tracker gets now. A run that was killed goes
    on from its last checkpoint: what a tracker has seen of it beyond these events comes again, and is dropped."""
    note: Callable[[str], None] = field(default=lambda text: None, compare=False, repr=False)
    """Records a line as a note of the run, which displays print: where the tracker's page is, say. It may be called
    from any thread; the note is written with the run's next event, and hides secrets."""

    @property
    def resumed(self) -> bool:
        """Whether the run goes on from a checkpoint."""
        return bool(self.from_stage)


class Tracker:
    """Base class of trackers; every method is optional, and does nothing by default.

    A run calls `start` first and `close` last. A run that fails before it begins (its model is missing, say) calls
    neither, so that connections belong into `start` rather than into `build`.

    A tracker that raises, in any method, is switched off: it gets no more calls, the run records a note with its name
    and the error, and the run and the other trackers go on. Calls come from the thread that trains, which waits for
    them: a tracker that works in a thread or process of its own raises what went wrong there in its next call.
    """

    def start(self, run: TrackedRun) -> None:
        """The run begins, or is resumed.

        Args:
            run: the run. What the tracker has of it beyond `run.events` events comes again, and so do the rollouts and
                evaluations after `run.from_step`.
        """

    def event(self, event: Event) -> None:
        """Something happened; called once for each line of `events.jsonl`, in order.

        Args:
            event: the tracker's own copy.
        """

    def progress(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        """A stage got further; for displays. Nothing of this is recorded.

        Args:
            stage: the stage's key.
            done: how many of its steps, problems or episodes are done.
            total: how many there are.
            values: the metrics of a training step, or counts such as `episodes` while an evaluation runs.
        """

    def rollouts(self, stage: str, step: int, scored: Sequence[Scored]) -> None:
        """A stage has rolled out and scored a step's trajectories; called before the step's event.

        Args:
            stage: the stage's key.
            step: its step.
            scored: every trajectory of the step with its reward.
        """

    def evaluated(self, name: str, step: int, scored: Sequence[Scored]) -> None:
        """An evaluation is complete and in the run folder; called before its event.

        Args:
            name: that of its files, such as `1-grpo-000010-in-domain`.
            step: the stage's step.
            scored: its episodes, greedy ones first.
        """

    def stopping(self) -> None:
        """The user has asked the run to stop after the current step.

        It is called from a signal handler, in the midst of anything, also before `start`: it may print or set a flag,
        and must not wait.
        """

    def close(self, outcome: Outcome) -> None:
        """The run has ended, after its last event (`run_end`).

        Args:
            outcome: how it ended.
        """
