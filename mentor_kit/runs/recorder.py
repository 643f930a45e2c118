"""A run in progress: its folder, locked; its files, open; and its trackers.

with RunRecorder(folder, options, dispatcher) as recorder:   # takes the lock; records the outcome at the end
    recorder.start(policy, recipe, stages)                   # from the last checkpoint, if there is one
    for key, stage in stages:
        if not recorder.is_done(key):
            stage.run(experiment, RunContext(recorder, key, is_first=...))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from mentor_kit.backend.policy import Policy
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import Interrupted, MentorKitError, UsageError
from mentor_kit.core.event import DIAGNOSIS, NOTE, RUN_END, RUN_RESUME, RUN_START, Event
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import hide
from mentor_kit.hooks.tracker import Outcome, TrackedRun
from mentor_kit.runs.checkpoints import Checkpoint, Checkpoints, Keep
from mentor_kit.runs.compression import Compression
from mentor_kit.runs.diagnosis import Diagnoser
from mentor_kit.runs.events import EventLog, read_events
from mentor_kit.runs.folder import RunFolder
from mentor_kit.runs.jsonl import JsonlFile
from mentor_kit.runs.lock import FolderLock
from mentor_kit.runs.problems import ProblemLog
from mentor_kit.runs.records import read_demonstrations
from mentor_kit.runs.stop import StopSignal
from mentor_kit.runs.trackers import EventDispatcher
from mentor_kit.runs.truncate import truncate


@dataclass(frozen=True)
class RecordOptions:
    """How much of a run is kept."""

    checkpoint_every: int = 10
    """A checkpoint after every so many steps of a stage, and after its last; 0 for the last one alone."""
    rollouts_every: int = 1
    """Keep the rollouts of every so many steps; 0 for none."""
    tokens: bool = True
    """Keep the tokens of rollouts and of evaluated episodes."""
    compress: Compression = "none"
    """How files of rollouts and of evaluated episodes are compressed."""
    keep: Keep = field(default_factory=Keep)


class RunRecorder:
    """Writes a run's folder, and gives every event to its trackers once. A context manager; see the module's example.

    Args:
        folder: the run's.
        options: how much is kept.
        dispatcher: the run's trackers.
        stop: whether the user has asked the run to stop.

    Raises (on entering):
        UsageError: another process is running in the folder.
    """

    def __init__(
        self,
        folder: RunFolder,
        options: RecordOptions | None = None,
        dispatcher: EventDispatcher | None = None,
        stop: StopSignal | None = None,
    ) -> None:
        self.folder = folder
        self.options = options or RecordOptions()
        self.dispatcher = dispatcher or EventDispatcher()
        self.dispatcher.on_note = self._note
        self.stop = stop or StopSignal()
        self.checkpoints = Checkpoints(folder.checkpoints, self.options.keep)
        self.resumed_from: Checkpoint | None = None
        self._lock = FolderLock(folder.path)
        self._stages: tuple[str, ...] = ()
        self._policy: Policy | None = None
        self._diagnoser = Diagnoser({})

    def __enter__(self) -> Self:
        self._lock.acquire()
        try:
            self.folder.tidy()
            self.events = EventLog(self.folder.events)
            self.demonstrations = JsonlFile(self.folder.demonstrations)
            self.problems = ProblemLog(self.folder.problems)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            # a full disk must not hide why the run failed
            with suppress(*([MentorKitError] if error is not None else [])):
                self._end(error)
        finally:
            self.events.close()
            self.demonstrations.close()
            self.problems.close()
            self._lock.release()

    @property
    def policy(self) -> Policy:
        """The student.

        Raises:
            UsageError: the run has not started, or without a student.
        """
        if self._policy is None:
            raise UsageError("this run has no student: call `start` with one first")
        return self._policy

    def start(
        self,
        policy: Policy | None,
        recipe: Mapping[str, Any],
        stages: Sequence[str],
        *,
        trains: Sequence[str] = (),
        go_back_to: Checkpoint | None = None,
        dropped: Sequence[str] = (),
        replays: bool = False,
    ) -> Checkpoint | None:
        """Begin, or resume from the last checkpoint: the files are truncated to it, and the policy is restored.

        Demonstrations that came after it stay: a teacher's work is not thrown away, and stages ask only for
        those that are missing, so that the file ends as that of an uninterrupted run.

        Args:
            policy: the student, as loaded from the recipe; None where no stage uses it.
            recipe: expanded, without secrets; for trackers.
            stages: the keys of all stages, in order.
            trains: the keys of those that train the student.
            go_back_to: an earlier checkpoint to resume from; later ones are removed.
            dropped: the keys of stages that the recipe had before it was changed.
            replays: whether rollouts after the checkpoint are trained on again, as sampling is not the same again.

        Raises:
            UsageError: the last checkpoint is of a stage the recipe does not have.
            DataError: the checkpoint cannot be restored.
        """
        if go_back_to is not None:
            self.checkpoints.remove_after(go_back_to)
        checkpoint = self.checkpoints.latest()
        if checkpoint is not None and checkpoint.stage not in stages:
            raise UsageError(
                f"{checkpoint.path} is of stage {checkpoint.stage!r}; the recipe's stages are {', '.join(stages)}",
                hint="resume with the recipe that the run was started with",
            )
        if checkpoint is not None and policy is not None:
            policy.restore(checkpoint.policy)
        truncate(self.folder, (self.events, self.problems), checkpoint, [*stages, *dropped], replays=replays)
        self._policy, self._stages, self.resumed_from = policy, tuple(stages), checkpoint
        self._diagnoser = Diagnoser(recipe)
        self._diagnoser.replay(read_events(self.folder.path))
        self._start_trackers(recipe)
        if checkpoint is None:
            self.emit(RUN_START, "", {"stages": list(stages), "trains": list(trains)})
        else:
            place = {"from_stage": checkpoint.stage, "from_step": checkpoint.step}
            self.emit(RUN_RESUME, "", {**place, "trains": list(trains)})
        return checkpoint

    def is_done(self, stage: str) -> bool:
        """Whether the run was resumed after this stage: its last checkpoint is of a later one."""
        if self.resumed_from is None:
            return False
        return self._stages.index(stage) < self._stages.index(self.resumed_from.stage)

    def has_steps(self, stage: str) -> bool:
        """Whether a stage has logged a training step so far."""
        return any(event.kind == "step" and event.stage == stage for event in read_events(self.folder.path))

    def emit(self, kind: str, stage: str, values: Mapping[str, Json]) -> Event:
        """Record an event and give it to the trackers."""
        event = self.record(kind, stage, values)
        self.dispatcher.event(event)
        return event

    def record(self, kind: str, stage: str, values: Mapping[str, Json]) -> Event:
        """Record an event, which the trackers do not get yet."""
        event = Event.now(kind, stage, dict(values))
        self.events.write(event)
        return event

    def diagnose(self, event: Event) -> None:
        """Record what an event shows to go wrong, as events of their own; each condition once a run."""
        for found in self._diagnoser.see(event):
            self.emit(DIAGNOSIS, event.stage, found.values)

    def read_demonstrations(self) -> list[Demonstration]:
        """All demonstrations of this run so far."""
        return read_demonstrations(self.folder.demonstrations)

    def offsets(self) -> dict[str, int]:
        """The lengths of the append-only files, which are made to survive a power cut first."""
        files = (self.events, self.demonstrations, self.problems)
        for file in files:
            file.sync()
        return {file.path.name: file.offset for file in files}

    def _start_trackers(self, recipe: Mapping[str, Any]) -> None:
        resumed = self.resumed_from
        kept = [] if resumed is None else read_events(self.folder.path)
        self.dispatcher.start(
            TrackedRun(
                name=self.folder.name,
                id=self.folder.id,
                folder=self.folder.path,
                recipe=recipe,
                stages=self._stages,
                from_stage="" if resumed is None else resumed.stage,
                from_step=0 if resumed is None else resumed.step,
                events=max(0, len(kept) - 1),
            )
        )
        # a kill may have come after the checkpoint and before its event, the last one, was given to the trackers
        for event in kept[-1:]:
            self.dispatcher.event(event)

    def _end(self, error: BaseException | None) -> None:
        outcome: Outcome = "done"
        if error is not None:
            outcome = "interrupted" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"
        values = {"outcome": outcome} | ({"error": _one_line(error)} if outcome == "failed" else {})
        try:
            self.emit(RUN_END, "", values)
            self.events.sync()
        except MentorKitError:
            outcome = "failed"
            raise
        finally:
            self.dispatcher.close(outcome)

    def _note(self, text: str) -> None:
        self.emit(NOTE, "", {"text": text})


def _one_line(error: BaseException | None) -> str:
    text = str(error).strip().split("\n")[0]
    return hide(text if isinstance(error, MentorKitError) else f"{type(error).__name__}: {text}")
