"""The results of rescoring that a run folder keeps, for reports: the last one of rollouts, and of evaluations."""

from __future__ import annotations

import json
from pathlib import Path

from mentor_kit.core.frozen_model import Json
from mentor_kit.report.rescore.result import Rescored
from mentor_kit.runs import Run
from mentor_kit.runs.files import write_text
from mentor_kit.utils.strict_json import to_json

#: The folder inside a run's.
FOLDER = "rescore"
SOURCES = ("rollouts", "evaluations")


def keep_rescored(run: Run, rescored: Rescored) -> Path:
    """Write a result into the run's folder, in place of the former one.

    Raises:
        MentorKitError: the folder cannot be written to.
    """
    path = run.path / FOLDER / f"{rescored.source}.json"
    write_text(path, to_json(rescored.to_json()) + "\n")
    return path


def kept_rescored(run: Run) -> dict[str, Json] | None:
    """What the run's folder keeps, as JSON by source; None where it keeps nothing that can be read."""
    found = {}
    for source in SOURCES:
        try:
            found[source] = json.loads((run.path / FOLDER / f"{source}.json").read_bytes())
        except (OSError, ValueError):
            continue
    return found or None
