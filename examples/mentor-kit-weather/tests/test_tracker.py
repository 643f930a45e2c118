"""The tracker: the table it leaves, also where a run was killed and resumed."""

from __future__ import annotations

import csv

from mentor_kit.core.event import Event
from mentor_kit.hooks import TrackedRun


def event(kind, step):
    accuracy = {"accuracy": step / 10, "low": 0.0, "high": 1.0}
    return Event.now(kind, "0-grpo", {"step": step, "split": "in-domain", "problems": 8, "greedy": accuracy})


def tracked(folder, events=0):
    return TrackedRun(name="test", id="1", folder=folder, recipe={}, stages=("0-grpo",), events=events)


def rows(folder):
    with (folder / "evaluations.csv").open(newline="", encoding="utf-8") as file:
        return [(row["step"], row["split"], row["accuracy"]) for row in csv.DictReader(file)]


def test_every_evaluation_has_a_row(build, tmp_path):
    tracker = build("trackers", "weather")
    tracker.start(tracked(tmp_path))
    for kind, step in (("step", 1), ("evaluation", 1), ("step", 2), ("evaluation", 2)):
        tracker.event(event(kind, step))
    tracker.close("done")
    assert rows(tmp_path) == [("1", "in-domain", "0.1"), ("2", "in-domain", "0.2")]


def test_a_resumed_run_neither_doubles_nor_loses_a_row(build, tmp_path):
    killed, resumed = build("trackers", "weather"), build("trackers", "weather")
    killed.start(tracked(tmp_path))
    for kind, step in (("step", 1), ("evaluation", 1), ("step", 2), ("evaluation", 2)):
        killed.event(event(kind, step))
    # the last checkpoint is that after step 1: what came later comes again
    resumed.start(tracked(tmp_path, events=2))
    for kind, step in (("step", 2), ("evaluation", 2)):
        resumed.event(event(kind, step))
    assert rows(tmp_path) == [("1", "in-domain", "0.1"), ("2", "in-domain", "0.2")]
