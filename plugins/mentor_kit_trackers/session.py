"""A run as its tracker's process follows it: what the run had before, then every message of the run, each once.

What a tracker has is written down in a ledger beside the run (`<run folder>/trackers/`). When a run is resumed, its
events are read from the run folder first, and what the tracker lacks of them is sent: after a kill, after the
tracker was switched off, and where the tracker is a new one of an old run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.event import DIAGNOSIS, NOTE, Event
from mentor_kit.hooks.tracker import Outcome
from mentor_kit.rl.reward import Scored
from mentor_kit.runs.events import read_events
from mentor_kit.runs.folder import RunFolder
from mentor_kit.runs.run import Run
from mentor_kit_trackers.curves import point_of, seconds, series_of, stage_names
from mentor_kit_trackers.ledger import Ledger
from mentor_kit_trackers.options import TrackerOptions
from mentor_kit_trackers.rollouts import TrackedRollout, chosen, chosen_episodes, is_tracked
from mentor_kit_trackers.writer import Writer


class Session:
    """Sends a run to a writer, each thing once.

    Args:
        writer: not open yet.
        ledger: what the tracker has by now.
        events: how many events the run has that come in no message, because it had them before.
        sent: called after each of those, which may take long together.
    """

    def __init__(
        self, writer: Writer[TrackerOptions], ledger: Ledger, events: int, sent: Callable[[], None] = lambda: None
    ) -> None:
        self._writer = writer
        self._run = writer.run
        self._options = writer.options
        self._ledger = ledger
        self._names = stage_names(writer.run.stages)
        self._teacher = _Teacher(RunFolder(writer.run.folder).demonstrations)
        self._episodes: Sequence[Scored] = ()
        """Those of an evaluation whose event comes next."""
        if not writer.open():
            ledger.clear()
        self._replay(events, sent)
        writer.replayed()

    def event(self, event: Event) -> None:
        """Send an event's numbers, or its message."""
        if event.kind == "evaluation" and self._episodes:
            self._send_rollouts(series_of(event, self._names), event.step or 0, self._episodes)
            self._episodes = ()
        point = point_of(event, self._names, self._options.exclude)
        if point is not None and not self._ledger.has(point.series, point.step):
            self._writer.point(point)
            self._ledger.add(point.series, point.step)
        if event.kind in (DIAGNOSIS, NOTE):
            self._send_message(event)

    def rollouts(self, stage: str, step: int, scored: Sequence[Scored]) -> None:
        """Send a step's rollouts.

        Args:
            stage: the stage's key.
            step: its step.
            scored: those that were chosen.
        """
        self._send_rollouts(self._names.get(stage, stage), step, scored)

    def evaluated(self, scored: Sequence[Scored]) -> None:
        """Keep the episodes of an evaluation until its event, which comes next."""
        self._episodes = scored

    def close(self, outcome: Outcome) -> None:
        """End the run."""
        self._writer.close(outcome)

    def _replay(self, events: int, sent: Callable[[], None]) -> None:
        """Send what the run had before this process, as far as the tracker does not have it."""
        if not events:
            return
        before = read_events(self._run.folder)[:events]
        evaluations = _evaluation_names(Run(self._run.folder))
        for event in before:
            step = event.step or 0
            if event.kind == "step" and is_tracked(step, self._options.rollouts):
                self._replay_rollouts(event.stage, step)
            if event.kind == "evaluation" and self._options.rollouts.episodes:
                name = evaluations.get((event.stage, step, str(event.values.get("plan"))))
                self._replay_evaluation(series_of(event, self._names), step, name)
            self.event(event)
            sent()

    def _replay_rollouts(self, stage: str, step: int) -> None:
        if self._ledger.has(_rollouts_of(self._names.get(stage, stage)), step):
            return
        found: list[Scored] = []
        # a run need not keep its rollouts, and what cannot be read is not worth the curves
        with suppress(MentorKitError):
            found = list(Run(self._run.folder).rollouts(stage, step))
        self.rollouts(stage, step, chosen(found, self._options.rollouts))

    def _replay_evaluation(self, series: str, step: int, name: str | None) -> None:
        if name is not None and not self._ledger.has(_rollouts_of(series), step):
            with suppress(MentorKitError):  # as above
                self.evaluated(chosen_episodes(Run(self._run.folder).evaluated(name), self._options.rollouts))

    def _send_rollouts(self, series: str, step: int, scored: Sequence[Scored]) -> None:
        if not scored or self._ledger.has(_rollouts_of(series), step):
            return
        found = [TrackedRollout(item, self._teacher.demonstration(item.trajectory.problem_id)) for item in scored]
        self._writer.rollouts(series, step, found)
        self._ledger.add(_rollouts_of(series), step)

    def _send_message(self, event: Event) -> None:
        is_diagnosis = event.kind == DIAGNOSIS
        title = str(event.values.get("name") or event.kind)
        text = " ".join(str(event.values[key]) for key in ("text", "advice") if event.values.get(key))
        name = f"{event.stage}:{event.step}:{title}:{text}"
        if not text or self._ledger.has_message(name):
            return
        self._writer.message(title, text, event.step, seconds(event), "warning" if is_diagnosis else "info")
        self._ledger.add_message(name)


class _Teacher:
    """The demonstrations of a run, read as its file grows.

    Args:
        path: of the file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._lines: dict[str, bytes] = {}
        """A demonstration of each problem, as its line; the first correct one if there is one."""
        self._correct: set[str] = set()

    def demonstration(self, problem: str) -> Demonstration | None:
        """The problem's demonstration, with its dialogue; None where there is none."""
        self._read_on()
        line = self._lines.get(problem)
        return Demonstration.from_json(line) if line is not None else None

    def _read_on(self) -> None:
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._keep(line)

    def _keep(self, line: bytes) -> None:
        found = json.loads(line)
        problem, is_correct = str(found["problem_id"]), bool(found.get("correct", True))
        if found.get("trajectory") is None or problem in self._correct:
            return
        if is_correct or problem not in self._lines:
            self._lines[problem] = line
        if is_correct:
            self._correct.add(problem)


def _rollouts_of(series: str) -> str:
    return f"{series}/rollouts"


def _evaluation_names(run: Run) -> Mapping[tuple[str, int, str], str]:
    """The names of a run's evaluations, by stage, step and plan."""
    return {
        (str(found.get("stage")), int(found.get("step") or 0), str(found.get("plan"))): str(found["name"])
        for found in run.evaluations
    }
