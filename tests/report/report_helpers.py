"""Run folders as a run would have left them, written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mentor_kit.runs import Run, RunFolder


def write_run(
    root: Path,
    name: str,
    seed: int,
    evaluations: Sequence[Mapping[str, Any]],
    steps: Sequence[Mapping[str, Any]] = (),
    *,
    outcome: str = "done",
) -> Run:
    folder = RunFolder.create(root, name, f"name: {name}\nseed: {seed}\n")
    folder.evaluation.mkdir()
    for report in evaluations:
        file = f"{report['stage']}-{report['step']:06d}-{report['split']}.json"
        (folder.evaluation / file).write_text(json.dumps(report))
    events = [{"kind": "step", "time": "t", **step} for step in steps]
    events.append({"kind": "run_end", "time": "t", "values": {"outcome": outcome}})
    folder.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    return Run(folder)


def step(number: int, stage: str = "0-grpo", **values: float) -> dict[str, Any]:
    return {"stage": stage, "step": number, "values": values}


def report(
    number: int,
    split: str,
    greedy: float,
    sampled: float | None = None,
    *,
    stage: str = "0-grpo",
    problems: int = 100,
    outcomes: Mapping[str, Sequence[float]] | None = None,
    **more: float,
) -> dict[str, Any]:
    found: dict[str, Any] = {"step": number, "stage": stage, "split": split, "problems": problems, **more}
    found["greedy"] = {"accuracy": greedy, "low": greedy - 0.1, "high": greedy + 0.1, "correct": greedy * problems}
    if sampled is not None:
        found["sampled"] = {"accuracy": sampled, "low": sampled - 0.1, "high": sampled + 0.1, "samples": 1}
    return found | {"groups": {}, "outcomes": outcomes or {}}
