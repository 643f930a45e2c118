"""Truncates a run folder to a checkpoint: what was recorded after it is removed, and will be recorded again."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from glob import escape
from pathlib import Path

from mentor_kit.runs.checkpoints import Checkpoint
from mentor_kit.runs.files import remove_folder, storage_errors
from mentor_kit.runs.folder import RECORDED, RunFolder
from mentor_kit.runs.jsonl import JsonlFile


def truncate(
    folder: RunFolder,
    files: Sequence[JsonlFile],
    checkpoint: Checkpoint | None,
    stages: Sequence[str],
    *,
    replays: bool = False,
) -> None:
    """Remove the lines, rollouts and evaluations after the checkpoint; all of them if there is none.

    Args:
        folder: the run.
        files: its open append-only files that are written again from the checkpoint on.
        checkpoint: the one the run resumes from.
        stages: the keys of all stages, in order; evaluations of other stages (made later) stay.
        replays: whether the rollouts of the next steps are trained on again, and are put aside for that.
    """
    for file in files:
        file.truncate(checkpoint.offsets.get(file.path.name, 0) if checkpoint is not None else 0)
    place = stages.index(checkpoint.stage) if checkpoint is not None else -1
    for stage in stages[place + 1 :]:
        # the first stage of a run without a checkpoint begins again
        if replays and checkpoint is None and stage == stages[0]:
            _take_away_rollouts(folder.rollouts / stage, after=0, replays=True)
        else:
            remove_folder(folder.rollouts / stage)
        _remove_evaluations(folder, stage, after=-1)
    if checkpoint is not None:
        _take_away_rollouts(folder.rollouts / checkpoint.stage, after=checkpoint.step, replays=replays)
        _remove_evaluations(folder, checkpoint.stage, after=checkpoint.step)


def _take_away_rollouts(folder: Path, *, after: int, replays: bool) -> None:
    """Remove the rollouts of later steps, or put them aside."""
    if not replays:
        remove_folder(folder / RECORDED)
    for path in folder.glob("step-*.jsonl*"):
        found = re.match(r"step-(\d+)\.", path.name)
        if not found or int(found.group(1)) <= after:
            continue
        if replays:
            with storage_errors(path):
                (folder / RECORDED).mkdir(exist_ok=True)
                path.replace(folder / RECORDED / path.name)
        else:
            _remove(path)


def _remove_evaluations(folder: RunFolder, stage: str, *, after: int) -> None:
    for path in folder.evaluation.glob(f"{escape(stage)}-*.jsonl*"):
        name = path.name.partition(".jsonl")[0]
        report = path.with_name(f"{name}.json")
        if _step(report, stage, name) > after:
            _remove(report)
            _remove(path)


def _step(report: Path, stage: str, name: str) -> int:
    """The step of an evaluation; without a report, from its name `<stage>-<step>-<split>`."""
    try:
        return int(json.loads(report.read_bytes())["step"])
    except (OSError, ValueError, KeyError, TypeError):
        found = re.match(r"(\d+)", name.removeprefix(f"{stage}-"))
        return int(found.group(1)) if found else -1


def _remove(path: Path) -> None:
    with storage_errors(path):
        path.unlink(missing_ok=True)
