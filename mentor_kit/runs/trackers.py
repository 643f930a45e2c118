"""Dispatches what happens in a run to its trackers, each in isolation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace

from mentor_kit.core.errors import MentorKitError, MissingError, RecipeError
from mentor_kit.core.event import Event
from mentor_kit.core.secret import hide
from mentor_kit.hooks.tracker import Outcome, TrackedRun, Tracker
from mentor_kit.rl.reward import Scored


class EventDispatcher:
    """Calls every tracker of a run, in the order in which they were added.

    A tracker that raises is switched off: it is called no more, and `on_note` is called with a sentence that names it.
    It is called with what trackers note, too (`TrackedRun.note`), always from the thread that calls the dispatcher.
    Ctrl-C during a call ends the run once the other trackers have had the same call.

    Args:
        trackers: those of the caller; more may be added until the run starts.
    """

    def __init__(self, trackers: Iterable[Tracker] = ()) -> None:
        self.on_note: Callable[[str], None] = lambda text: None
        """Records a note; set by the recorder of the run."""
        self._trackers: list[tuple[str, Tracker]] = []
        self._notes: deque[str] = deque()
        """Faults and notes of trackers that are not recorded yet; any thread may add to them."""
        self._started = False
        for tracker in trackers:
            self.add(f"tracker {type(tracker).__name__}", tracker)

    def add(self, name: str, tracker: Tracker) -> None:
        """Add a tracker, which faults call by that name."""
        self._trackers.append((name, tracker))

    def build(self, name: str, make: Callable[[], Tracker]) -> None:
        """Add the tracker that `make` returns; one that cannot be built is a fault of its own.

        Raises:
            RecipeError: its options are wrong.
            MissingError: it needs something that is not installed.
        """
        try:
            self.add(name, make())
        except (RecipeError, MissingError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 (a tracker may even call sys.exit)
            self._notes.append(_fault(name, "build", error))

    def start(self, run: TrackedRun) -> None:
        """Start every tracker; until then they get no events."""
        self._started = True
        # faults and notes are recorded with the run's first event, which comes next
        self._call_each(
            "start", lambda tracker: tracker.start(replace(run, recipe=deepcopy(dict(run.recipe)), note=self._note))
        )

    def event(self, event: Event) -> None:
        """Give every tracker an event."""
        self._call("event", lambda tracker: tracker.event(deepcopy(event)))

    def progress(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        """Give every tracker a stage's progress."""
        self._call("progress", lambda tracker: tracker.progress(stage, done, total, dict(values)))

    def rollouts(self, stage: str, step: int, scored: Sequence[Scored]) -> None:
        """Give every tracker a step's rollouts."""
        self._call("rollouts", lambda tracker: tracker.rollouts(stage, step, tuple(scored)))

    def evaluated(self, name: str, step: int, scored: Sequence[Scored]) -> None:
        """Give every tracker the episodes of an evaluation."""
        self._call("evaluated", lambda tracker: tracker.evaluated(name, step, tuple(scored)))

    def stopping(self) -> None:
        """Call every tracker's `stopping`. A fault is recorded with the next call: a signal handler must not write."""
        self._call_each("stopping", lambda tracker: tracker.stopping())

    def close(self, outcome: Outcome) -> None:
        """Close every tracker, whatever the others raise; none where the run was not started."""
        raised: BaseException | None = None
        while self._started and self._trackers:
            (name, tracker), *self._trackers = self._trackers
            try:
                self._call_one(name, tracker, "close", lambda each: each.close(outcome))
                # a note is one more event, for the trackers that are still open
                self._record_notes()
            except BaseException as error:  # noqa: BLE001 (Ctrl-C or a full disk: the others are closed first)
                raised = error
        self._started = False
        if raised is not None:
            raise raised

    def _call(self, method: str, call: Callable[[Tracker], None]) -> None:
        if self._started:
            try:
                self._call_each(method, call)
            finally:
                self._record_notes()

    def _call_each(self, method: str, call: Callable[[Tracker], None]) -> None:
        interrupt: KeyboardInterrupt | None = None
        for name, tracker in tuple(self._trackers):
            try:
                self._call_one(name, tracker, method, call)
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _call_one(self, name: str, tracker: Tracker, method: str, call: Callable[[Tracker], None]) -> None:
        try:
            call(tracker)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 (a tracker may even call sys.exit)
            self._trackers = [found for found in self._trackers if found[1] is not tracker]
            self._notes.append(_fault(name, method, error))

    def _note(self, text: str) -> None:
        self._notes.append(hide(text))

    def _record_notes(self) -> None:
        while self._notes:
            self.on_note(self._notes.popleft())


def _fault(name: str, method: str, error: BaseException) -> str:
    if isinstance(error, MentorKitError):
        # it says itself what failed, which need not have been this call
        reason = f"{error.message}; {error.hint}" if error.hint else error.message
        return hide(f"{name} is switched off: {reason}")
    return hide(f"{name} failed in `{method}` and is switched off: {type(error).__name__}: {error}")
