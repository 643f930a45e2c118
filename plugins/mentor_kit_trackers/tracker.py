"""The tracker that a run calls: it passes on events and chosen rollouts to its process."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

from mentor_kit.core.event import RUN_END, Event
from mentor_kit.hooks.tracker import Outcome, TrackedRun, Tracker
from mentor_kit.rl.reward import Scored
from mentor_kit_trackers.options import TrackerOptions
from mentor_kit_trackers.process import TrackerProcess
from mentor_kit_trackers.rollouts import chosen, chosen_episodes, is_tracked

#: The folder in a run's that has the ledgers and logs of its trackers.
FOLDER = "trackers"


class WorkerTracker(Tracker):
    """Tracks a run by a writer in a process of its own.

    Args:
        name: the tracker's, for its files.
        writer: the class of the writer, as `module:class`.
        options: its options.
    """

    def __init__(self, name: str, writer: str, options: TrackerOptions) -> None:
        self._name = name
        self._writer = writer
        self._options = options
        self._process: TrackerProcess | None = None
        self._is_finished = False

    def start(self, run: TrackedRun) -> None:
        folder = run.folder / FOLDER
        folder.mkdir(exist_ok=True)
        files = folder / f"{self._name}-{_digest(self._options)}"
        options, secrets = _split(self._options)
        self._process = TrackerProcess(files.with_suffix(".log"), self._options.timeout, run.note)
        self._process.send(
            {
                "writer": self._writer,
                "options": options,
                "secrets": secrets,
                "ledger": str(files.with_suffix(".json").resolve()),
                "lock": str(files.with_suffix(".lock").resolve()),
                "run": {
                    "name": run.name,
                    "id": run.id,
                    "folder": str(run.folder.resolve()),
                    "recipe": run.recipe,
                    "stages": run.stages,
                    "events": run.events,
                    "process": os.getpid(),
                },
            }
        )

    def event(self, event: Event) -> None:
        self._send({"event": event.to_json()})
        if event.kind == RUN_END:
            # trackers of a run then end side by side, and not one after the other
            self._finish(event.values["outcome"])

    def progress(self, *_: Any) -> None:
        # while a stage works long on a step, faults are found here
        if self._process is not None and not self._is_finished:
            self._process.check()

    def rollouts(self, stage: str, step: int, scored: Sequence[Scored]) -> None:
        if is_tracked(step, self._options.rollouts):
            found = [item.to_json() for item in chosen(scored, self._options.rollouts)]
            self._send({"stage": stage, "step": step, "rollouts": found})

    def evaluated(self, name: str, step: int, scored: Sequence[Scored]) -> None:
        self._send({"evaluated": [item.to_json() for item in chosen_episodes(scored, self._options.rollouts)]})

    def close(self, outcome: Outcome) -> None:
        self._finish(outcome)
        if self._process is not None:
            self._process.close()

    def _finish(self, outcome: Outcome) -> None:
        if self._process is not None and not self._is_finished:
            self._process.finish({"close": outcome})
            self._is_finished = True

    def _send(self, message: dict[str, Any]) -> None:
        # what comes after the run's end are notes on other trackers
        if self._process is not None and not self._is_finished:
            self._process.send(message)


def _digest(options: TrackerOptions) -> str:
    """Six characters that tell the places apart where a run is tracked."""
    return hashlib.sha256(json.dumps(options.place(), sort_keys=True).encode()).hexdigest()[:6]


def _split(options: TrackerOptions) -> tuple[dict[str, Any], dict[str, str]]:
    """Options as data, and the secrets among them, which are passed on apart."""
    secrets = {name: str(getattr(options, name)) for name in options.SECRETS if getattr(options, name) is not None}
    return options.model_dump(mode="json", exclude=set(options.SECRETS)), secrets
