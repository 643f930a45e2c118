"""Measures a step's time by prompt, completion, group, layers and turns, ours beside TRL's, and draws it.

    python benchmarks/curves.py --output docs/images/cost.svg

One number is changed at a time, from a prompt of 1024 tokens, 64 new ones, eight completions and four layers of
SmolLM2's shape; the turns are those of the quickstart's student with its tools. Points are stored in a file beside the
picture at once, and curves that are not measured are read from it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import speed
from shape import Shape, write_model

BASE = Shape(prompt=1024, own=16, completion=64, problems=1, group=8)
LAYERS = 4
CURVES: dict[str, tuple[int, ...]] = {
    "prompt": (256, 1024, 4096),
    "completion": (16, 64, 128),
    "group": (4, 8, 16),
    "layers": (2, 4, 8),
    "turns": (2, 3, 4),
}
TITLES = {
    "prompt": "tokens of the prompt",
    "completion": "new tokens",
    "group": "completions of a problem",
    "layers": "layers",
    "turns": "turns, with tools",
}
PEERS = {"step": "TRL", "tools": "TRL, tools="}

Points = list[dict[str, Any]]


def measure(name: str, value: int, rounds: int, threads: int) -> dict[str, Any]:
    """Seconds a problem of both sides at one point: medians of the rounds."""
    what = "tools" if name == "turns" else "step"
    shape = replace(BASE, **{name: value}) if name in ("prompt", "completion", "group") else BASE
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_model(Path(scratch), value if name == "layers" else LAYERS)
        plan = speed.Plan(
            folder, shape, 1, rounds, 1, threads, peers=(PEERS[what],), turns=value if name == "turns" else 4
        )
        found = speed.COMPARISONS[what](plan)
    sides = {side: statistics.median(speed.per_problem(found, side)) for side in found["turns"]}
    return {"value": value, "ours": sides["ours"], "theirs": sides[PEERS[what]]}


def draw(curves: dict[str, Points], file: Path, machine: str) -> None:
    """A panel for each curve."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "mentor-kit"
    figure, panels = pyplot.subplots(1, len(curves), figsize=(3.1 * len(curves), 3.2), layout="constrained")
    for panel, (name, points) in zip(panels, curves.items(), strict=True):
        values = [point["value"] for point in points]
        panel.plot(values, [point["theirs"] for point in points], "s--", color="#888888", label="TRL")
        panel.plot(values, [point["ours"] for point in points], "o-", color="#1f5fbf", label="mentor-kit")
        panel.set_xscale("linear" if name == "turns" else "log", **({} if name == "turns" else {"base": 2}))
        panel.set_xticks(values, [f"{value:,}" for value in values])
        panel.minorticks_off()
        panel.set_ylim(bottom=0)
        panel.set_xlabel(TITLES[name])
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    panels[0].set_ylabel("seconds a step")
    panels[0].legend(frameon=False)
    figure.suptitle(f"A step of GRPO: {machine}", fontsize=9)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Measure the curves, print them, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("cost.svg"))
    parser.add_argument("--curves", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    machine, kept = speed.machine(options.threads), options.output.with_suffix(".json")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Points] = json.loads(kept.read_text())["curves"] if kept.exists() else {}
    for name in options.curves:
        found[name] = []
        for value in CURVES[name]:
            point = measure(name, value, options.rounds, options.threads)
            found[name].append(point)
            kept.write_text(json.dumps({"machine": machine, "curves": found}, indent=1) + "\n")
            ratio = point["theirs"] / point["ours"]
            print(
                f"{name} {value}: ours {point['ours']:.2f} s, TRL {point['theirs']:.2f} s, {ratio:.1f} times",
                flush=True,
            )
    draw({name: found[name] for name in CURVES if name in found}, options.output, machine)


if __name__ == "__main__":
    main()
