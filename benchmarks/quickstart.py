"""Runs the quickstart by its command with three seeds: its accuracies, its times, and the README's pictures.

    python benchmarks/quickstart.py --output build/quickstart

It leaves the runs, `quickstart.md` (a table with the seeds' rises and times), `terminal.svg` (what the first seed's run
printed) and `run.svg` (its learning curve).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from mentor_kit.report import before_after, plot_run
from mentor_kit.report.tables import Sheet, percent, points
from mentor_kit.runs import Run
from mentor_kit.utils.machine import cpu_name

WIDTH = 118

#: Lines of progress that a terminal overwrites.
MOVING = " step "

PICTURE = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: Consolas, Menlo, 'DejaVu Sans Mono', monospace; font-size: {char_height}px;
  line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


@dataclass(frozen=True)
class QuickstartRun:
    """One seed's run."""

    seed: int
    run: Run
    seconds: float
    """Of the whole command."""
    printed: str

    @property
    def training(self) -> float:
        """Seconds in training steps, without evaluations and start-up."""
        return sum(float(step["seconds"]) for step in self.run.steps)


def main() -> None:
    """Run, and write the table and the pictures."""
    options = _options()
    runs = [_run_quickstart(seed, options.output) for seed in range(options.seeds)]
    text = f"{_sheet(runs).markdown()}\n{_machine()}\n"
    (options.output / "quickstart.md").write_text(text, encoding="utf-8")
    _draw_terminal(runs[0].printed, options.output / "terminal.svg")
    plot_run(runs[0].run, options.output / "run.svg")
    print(text)


def _run_quickstart(seed: int, output: Path) -> QuickstartRun:
    command = [sys.executable, "-m", "mentor_kit.cli", "run", "quickstart", "--plain", "--set", f"seed={seed}"]
    root = output / f"seed-{seed}"
    started = time.monotonic()
    done = subprocess.run([*command, "--output", str(root)], check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.monotonic() - started
    print(done.stdout, flush=True)
    # users' runs are in `runs`
    return QuickstartRun(seed, Run.open("quickstart", root), seconds, done.stdout.replace(str(root), "runs"))


def _sheet(runs: Sequence[QuickstartRun]) -> Sheet:
    rows = [
        (
            str(item.seed),
            change.split,
            change.kind,
            percent(change.before),
            percent(change.after),
            points(change.difference.mean),
            f"{points(change.difference.low)} to {points(change.difference.high)}",
            f"{item.training:.0f} s",
            f"{item.seconds:.0f} s",
        )
        for item in runs
        for change in before_after(item.run).changes
    ]
    heads = ("seed", "split", "decoding", "before", "after", "rise", "95 % interval", "training", "whole command")
    return Sheet("Quickstart", heads, tuple(rows), left=3)


def _machine() -> str:
    import torch

    facts = {"cores": os.cpu_count(), "cpu": cpu_name(), "system": platform.system(), "torch": torch.__version__}
    return "Machine: " + json.dumps(facts)


def _draw_terminal(printed: str, path: Path) -> None:
    """The lines a terminal keeps, with the last step's, as a picture."""
    lines = printed.rstrip().splitlines()
    last = max((place for place, line in enumerate(lines) if MOVING in line and "/" in line), default=-1)
    kept = [line for place, line in enumerate(lines) if place == last or not (MOVING in line and "tok/s" in line)]
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(Text("$ mentorkit run quickstart", style="bold"))
        for line in kept:
            console.print(Text(line), soft_wrap=False)
        svg = console.export_svg(title="mentorkit run quickstart", code_format=PICTURE, unique_id="quickstart")
    path.write_text(svg, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/quickstart"))
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
