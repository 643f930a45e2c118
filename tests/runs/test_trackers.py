"""Trackers get everything that happens in a run once, in order, and none costs another anything."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from run_helpers import Counter, scored

from mentor_kit.core.errors import Interrupted, MentorKitError, MissingError, PluginError, RecipeError
from mentor_kit.core.event import Event
from mentor_kit.core.secret import remember
from mentor_kit.hooks.tracker import Outcome, TrackedRun, Tracker
from mentor_kit.rl.reward import Scored
from mentor_kit.runs import EventDispatcher, RecordOptions, Run, RunContext, RunFolder, RunRecorder
from mentor_kit.runs.events import EventLog

STAGE = "0-grpo"
RECIPE = {"name": "quick", "train": [{"use": "grpo", "with": {"steps": 3}}]}


class Journal(Tracker):
    """Keeps every call: the method's name, and what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def start(self, run: TrackedRun) -> None:
        self.calls.append(("start", run))

    def event(self, event: Event) -> None:
        self.calls.append(("event", event))

    def progress(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        self.calls.append(("progress", (stage, done, total)))

    def rollouts(self, stage: str, step: int, scored: Sequence[Scored]) -> None:
        self.calls.append(("rollouts", (stage, step, list(scored))))

    def evaluated(self, name: str, step: int, scored: Sequence[Scored]) -> None:
        self.calls.append(("evaluated", (name, step, list(scored))))

    def stopping(self) -> None:
        self.calls.append(("stopping", None))

    def close(self, outcome: Outcome) -> None:
        self.calls.append(("close", outcome))

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]

    def given(self, method: str) -> list[Any]:
        return [given for found, given in self.calls if found == method]


class Broken(Journal):
    """Raises in one of its methods."""

    def __init__(self, method: str, error: BaseException) -> None:
        super().__init__()
        real: Callable[..., None] = getattr(self, method)

        def fail(*given: Any) -> None:
            real(*given)
            raise error

        setattr(self, method, fail)


def train(folder: RunFolder, *trackers: Tracker, error: BaseException | None = None) -> None:
    """A run of three steps with an evaluation, which ends with an error if there is one."""
    dispatcher = EventDispatcher(trackers)
    with RunRecorder(folder, RecordOptions(checkpoint_every=1), dispatcher) as recorder:
        recorder.start(Counter(), RECIPE, [STAGE])
        context = RunContext(recorder, STAGE, is_first=True)
        for step in (1, 2, 3):
            context.write_rollouts(step, [scored(step)])
            context.emit("step", step=step, steps=3)
            context.checkpoint(step, {"step": step})
        dispatcher.stopping()
        report = {"step": 3, "greedy": {"accuracy": 1.0}}
        context.write_evaluation(f"{STAGE}-000003-in-domain", report, [scored(4)])
        context.emit("evaluation", **report)
        if error is not None:
            raise error


def recorded(folder: RunFolder) -> list[str]:
    return folder.events.read_text(encoding="utf-8").splitlines()


def notes(folder: RunFolder) -> list[str]:
    return [event.values["text"] for event in Run(folder).events if event.kind == "note"]


def test_a_tracker_gets_everything_once_and_is_closed_last(folder: RunFolder) -> None:
    journal = Journal()
    train(folder, journal)
    assert [event.to_json() for event in journal.given("event")] == recorded(folder)
    assert journal.given("rollouts") == [(STAGE, step, [scored(step)]) for step in (1, 2, 3)]
    assert journal.given("evaluated") == [(f"{STAGE}-000003-in-domain", 3, [scored(4)])]
    assert journal.given("progress") == [(STAGE, step, 3) for step in (1, 2, 3)]
    assert (journal.methods[0], journal.calls[-1]) == ("start", ("close", "done"))
    assert (journal.methods.count("start"), journal.methods.count("close")) == (1, 1)


def test_a_tracker_is_started_with_the_run(folder: RunFolder) -> None:
    journal = Journal()
    train(folder, journal)
    assert journal.given("start") == [TrackedRun("quick", folder.id, folder.path, RECIPE, (STAGE,))]
    assert not journal.given("start")[0].resumed


def test_the_rollouts_of_a_step_come_before_its_event(folder: RunFolder) -> None:
    journal = Journal()
    train(folder, journal)
    seen = [
        given.step if method == "event" else given[1]
        for method, given in journal.calls
        if method == "rollouts" or (method == "event" and given.kind == "step")
    ]
    assert seen == [1, 1, 2, 2, 3, 3]


def test_a_resumed_run_says_where_it_goes_on(folder: RunFolder) -> None:
    with pytest.raises(Interrupted):
        train(folder, error=Interrupted("stopped"))
    journal = Journal()
    with RunRecorder(folder, dispatcher=EventDispatcher([journal])) as recorder:
        recorder.start(Counter(), RECIPE, [STAGE])
    run = journal.given("start")[0]
    assert (run.resumed, run.from_stage, run.from_step) == (True, STAGE, 3)
    # run_start, then a step and a checkpoint each; the last checkpoint comes again, for those that have not seen it
    assert run.events == 6
    assert [event.to_json() for event in journal.given("event")] == recorded(folder)[6:]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(ValueError("x"), "failed"), (Interrupted("x"), "interrupted"), (KeyboardInterrupt(), "interrupted")],
)
def test_trackers_are_closed_however_the_run_ends(folder: RunFolder, error: BaseException, outcome: str) -> None:
    journal = Journal()
    with pytest.raises(type(error)):
        train(folder, journal, error=error)
    assert journal.calls[-1] == ("close", outcome)
    assert journal.given("event")[-1].values["outcome"] == outcome
    assert Run(folder).outcome == outcome


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("error", [ValueError("no network"), SystemExit("bye")])
@pytest.mark.parametrize("method", ["start", "event", "progress", "rollouts", "evaluated", "stopping", "close"])
def test_a_tracker_that_raises_is_named_and_switched_off(
    folder: RunFolder, method: str, error: BaseException, first: bool
) -> None:
    broken, journal = Broken(method, error), Journal()
    train(folder, *([broken, journal] if first else [journal, broken]))
    assert Run(folder).outcome == "done"
    (note,) = notes(folder)
    assert all(word in note for word in ("Broken", method, type(error).__name__, str(error)))
    # called no more, not even to be closed
    assert broken.methods.count(method) == 1
    assert broken.methods[-1] == method
    events = [event.to_json() for event in journal.given("event")]
    # a tracker that was closed before the other failed in `close` does not get the note on that
    assert events == recorded(folder)[: len(events)]
    assert len(recorded(folder)) - len(events) == (1 if method == "close" and not first else 0)
    for name in ("rollouts", "progress"):
        assert len(journal.given(name)) == 3
    assert len(journal.given("evaluated")) == 1
    assert journal.calls[-1] == ("close", "done")


def test_a_tracker_cannot_change_what_another_gets(folder: RunFolder) -> None:
    class Meddler(Tracker):
        def start(self, run: TrackedRun) -> None:
            run.recipe["train"][0]["use"] = "other"

        def event(self, event: Event) -> None:
            event.values.clear()

    journal = Journal()
    train(folder, Meddler(), journal)
    assert journal.given("start")[0].recipe == RECIPE
    assert [event.to_json() for event in journal.given("event")] == recorded(folder)


def test_ctrl_c_in_one_tracker_keeps_nothing_from_the_others(folder: RunFolder) -> None:
    broken, journal = Broken("rollouts", KeyboardInterrupt()), Journal()
    with pytest.raises(KeyboardInterrupt):
        train(folder, broken, journal)
    assert len(journal.given("rollouts")) == 1
    assert broken.calls[-1] == journal.calls[-1] == ("close", "interrupted")
    assert notes(folder) == []


def test_ctrl_c_while_one_tracker_is_closed_closes_the_others(folder: RunFolder) -> None:
    broken, journal = Broken("close", KeyboardInterrupt()), Journal()
    with pytest.raises(KeyboardInterrupt):
        train(folder, broken, journal)
    assert journal.calls[-1] == ("close", "done")
    with RunRecorder(folder):  # the folder is free again
        pass


def test_a_tracker_that_cannot_be_built_costs_itself_alone(folder: RunFolder) -> None:
    def fail() -> Tracker:
        raise PluginError("it has no token")

    journal = Journal()
    dispatcher = EventDispatcher()
    dispatcher.build("trackers.0", fail)
    dispatcher.add("trackers.1", journal)
    with RunRecorder(folder, dispatcher=dispatcher) as recorder:
        recorder.start(Counter(), {}, [STAGE])
    (note,) = notes(folder)
    assert all(word in note for word in ("trackers.0", "it has no token"))
    assert [event.kind for event in journal.given("event")] == ["run_start", "note", "run_end"]


@pytest.mark.parametrize("error", [MissingError("no wandb", hint="pip install wandb"), RecipeError("wrong")])
def test_what_the_user_can_mend_is_an_error_before_the_run_begins(error: Exception) -> None:
    def fail() -> Tracker:
        raise error

    with pytest.raises(type(error)):
        EventDispatcher().build("trackers.0", fail)


def test_a_run_that_never_began_starts_and_closes_no_tracker(folder: RunFolder) -> None:
    journal = Journal()
    with pytest.raises(ValueError, match="no model"), RunRecorder(folder, dispatcher=EventDispatcher([journal])):
        raise ValueError("no model")
    assert journal.calls == []


def test_what_a_tracker_notes_from_any_thread_is_recorded_once(folder: RunFolder) -> None:
    """Before the run's first event, between two steps, and when it is closed."""
    remember("hunter22", "${env:KEY}")

    class Noting(Journal):
        def start(self, run: TrackedRun) -> None:
            super().start(run)
            self.note("the page is at hunter22/1")

        def rollouts(self, stage: str, step: int, scored: Sequence[Scored]) -> None:
            super().rollouts(stage, step, scored)
            if step == 2:
                self.note("step 2")

        def close(self, outcome: Outcome) -> None:
            self.note("closed")
            super().close(outcome)

        def note(self, text: str) -> None:
            thread = threading.Thread(target=self.given("start")[0].note, args=(text,))
            thread.start()
            thread.join()

    noting, other = Noting(), Journal()
    train(folder, noting, other)
    assert notes(folder) == ["the page is at ${env:KEY}/1", "step 2", "closed"]
    assert [event.to_json() for event in other.given("event")] == recorded(folder)
    kinds = [event.kind for event in Run(folder).events]
    assert kinds.index("run_start") < kinds.index("note") < kinds.index("step")


def test_secrets_in_a_trackers_error_stay_hidden(folder: RunFolder) -> None:
    remember("hunter2-hunter2", "${env:TRACKER_TOKEN}")
    train(folder, Broken("start", ValueError("401 for hunter2-hunter2")))
    assert "hunter2" not in folder.events.read_text(encoding="utf-8")
    assert json.loads(recorded(folder)[1])["kind"] == "note"


def test_a_full_disk_still_closes_trackers(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, write = Journal(), EventLog.write

    def full(log: EventLog, event: Event) -> None:
        if event.kind == "run_end":
            raise MentorKitError("No space left")
        write(log, event)

    monkeypatch.setattr(EventLog, "write", full)
    with pytest.raises(MentorKitError, match="No space left"):
        train(folder, journal)
    assert journal.calls[-1] == ("close", "failed")
