"""Trackers of a stranger's plugin, in processes of their own that are killed and resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"

#: Beside the tracker of the docs: one that keeps every call, and one that kills the process, both in front of it.
MORE = """
import json, os, signal

class Journal(Tracker):
    def start(self, run):
        self.path = run.folder / "journal.jsonl"
        self.write("start", run.id, run.name, run.recipe["name"], run.from_stage, run.from_step, run.events)
    def event(self, event):
        self.write("event", event.kind, event.stage, event.step)
    def rollouts(self, stage, step, scored):
        self.write("rollouts", stage, step, [item.trajectory.id for item in scored])
    def evaluated(self, name, step, scored):
        self.write("evaluated", name, step, [item.trajectory.id for item in scored])
    def close(self, outcome):
        self.write("close", outcome)
    def write(self, *call):
        with self.path.open("a") as file:
            file.write(json.dumps(call) + "\\n")

class Killer(Tracker):
    def event(self, event):
        if f"{event.kind} {event.step}" == os.environ.get("KILL_AT"):
            os.kill(os.getpid(), signal.SIGKILL)

class Broken(Tracker):
    def event(self, event):
        raise OSError("no network")

@hookimpl
def register_trackers(register):
    register("events-file", options=EventsFileOptions, build=lambda options, context: EventsFile(options))
    for kind in (Journal, Killer, Broken):
        register(kind.__name__.lower(), build=lambda options, context, kind=kind: kind())
"""

RECIPE = """
extends: quickstart
trackers: [broken, journal, killer, {use: events-file}]
train: [{use: grpo, with: {steps: 4, problems: 2, group: 2, optimizer: {lr: 1e-3}}}]
checkpoints: {every: 2}
evaluate: {every: 2, on: [{split: in-domain, problems: 2}]}
"""


def call(folder: Path, *arguments: str, kill_at: str = "") -> int:
    environment = {**os.environ, "KILL_AT": kill_at}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "mentor_kit.cli", *arguments, "--json"],
        cwd=folder, env=environment, capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a recipe, and a site with the plugin as pip leaves it."""
    (source,) = re.findall(r"```python\n(.*?)```", (DOCS / "trackers.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    info = tmp_path / "site" / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "acme_trackers.py").write_text(source + MORE, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[mentorkit]\nacme = acme_trackers\n", encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# at the checkpoint itself, whose event the tracker behind has not got yet; and at a step after it
@pytest.mark.slow
@pytest.mark.parametrize("kill_at", ["checkpoint 2", "step 3"])
def test_a_killed_and_resumed_run_is_tracked_once(folder: Path, kill_at: str) -> None:
    assert call(folder, "run", "recipe.yaml", kill_at=kill_at) == -signal.SIGKILL
    (run,) = (folder / "runs" / "quickstart").iterdir()
    first = len(lines(run / "journal.jsonl"))
    assert call(folder, "run", str(run), "--resume") == 0
    # the file of the docs' tracker is the run's own record
    (tracked,) = (folder / "tracked").iterdir()
    assert lines(tracked) == lines(run / "events.jsonl")
    # each process begins with `start`, and the one that ended closed its trackers last
    journal = lines(run / "journal.jsonl")
    assert journal[0] == ["start", run.name, "quickstart", "quickstart", "", 0, 0]
    (method, _, _, _, stage, step, events), after = journal[first], journal[first:]
    assert (method, stage, step) == ("start", "0-grpo", 2)
    assert [lines(run / "events.jsonl")[events][key] for key in ("kind", "step")] == ["checkpoint", 2]
    assert journal[-1] == ["close", "done"]
    assert [found[0] for found in journal].count("close") == 1
    steps = [found[3] for found in after if found[:2] == ["event", "step"]]
    assert steps == [3, 4]
    assert [found[1:3] for found in after if found[0] == "rollouts"] == [["0-grpo", 3], ["0-grpo", 4]]
    kept = [item["trajectory"]["id"] for item in lines(run / "rollouts" / "0-grpo" / "step-000004.jsonl")]
    assert next(found[3] for found in after if found[:3] == ["rollouts", "0-grpo", 4]) == kept
    evaluations = [found for found in journal if found[0] == "evaluated"]
    assert [found[2] for found in evaluations] == [0, 2, 4]
    evaluated = evaluations[-1]
    scored = [item["trajectory"]["id"] for item in lines(run / "evaluation" / f"{evaluated[1]}.jsonl")]
    assert evaluated[3] == scored
    # the broken one is named once a process
    notes = [event["values"]["text"] for event in lines(run / "events.jsonl") if event["kind"] == "note"]
    assert sum("'broken' of plugin 'acme'" in note and "no network" in note for note in notes) == 2
