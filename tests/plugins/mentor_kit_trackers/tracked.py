"""Runs a tracked run in a process, and says what a tracker should have of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracked_run import STAGE, Request

Curves = dict[str, list[tuple[int, float]]]


def tracked(
    request: Request, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a request in a process of its own, with `folder` as its working folder and home."""
    # a slow machine is no fault, where a test is not about time
    request = replace(request, options={"timeout": 120, **request.options})
    paths = os.pathsep.join(path for path in sys.path if path)
    variables = {**os.environ, "PYTHONPATH": paths, "HOME": str(folder), "NETRC": str(folder / "netrc")}
    return subprocess.run(
        [sys.executable, "-P", str(Path(__file__).with_name("tracked_run.py")), request.to_json()],
        cwd=folder, env={**variables, **(environment or {})}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def begin(folder: Path) -> Path:
    """A new run folder `runs/quick/1`."""
    run = folder / "runs" / "quick" / "1"
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text("name: quick\n", encoding="utf-8")
    return run


def events(run: Path) -> list[dict[str, Any]]:
    path = run / "events.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def notes(run: Path) -> list[str]:
    return [event["values"]["text"] for event in events(run) if event["kind"] == "note"]


def expected(run: Path) -> Curves:
    """The curves of a run by what its events say: a list of steps with values each, every step once."""
    curves: Curves = {}
    for event in events(run):
        if event.get("stage") == STAGE and event["kind"] in ("step", "evaluation"):
            values = event["values"]
            flat = {f"grpo/{name}": value for name, value in values.items()}
            if event["kind"] == "evaluation":
                flat = {f"grpo/evaluation/in-domain/greedy/{name}": value for name, value in values["greedy"].items()}
            for name, value in flat.items():
                if isinstance(value, int | float) and name != "grpo/steps":
                    curves.setdefault(name, []).append((event["step"], float(value)))
    return curves
