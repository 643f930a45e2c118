"""Draws one run's learning curve: evaluations and training side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mentor_kit.core.errors import UsageError
from mentor_kit.report.arms import Report, own_reports, placed_reports, placed_steps, plan_of
from mentor_kit.report.figure import COLOURS, Axes, in_percent, look, new_figure, save
from mentor_kit.runs import Run

#: Metrics of a training step that are drawn where they were logged: all from 0 to about 1.
TRAINING = {"reward": "reward", "accuracy": "accuracy", "similarity": "similarity to the teacher"}

#: Steps whose mean is one point of a smoothed line.
WINDOW = 5


def plot_run(run: Run, path: Path) -> Path:
    """Draw a run's evaluations (accuracy with 95 % intervals) and its training (reward, accuracy, similarity or loss).

    Args:
        run: the run.
        path: a file to write; its suffix (.png, .svg, .pdf) gives the format.

    Raises:
        UsageError: the run has logged neither evaluations nor steps, or the format is unknown.
        MissingError: matplotlib is not installed.
    """
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise UsageError(f"{path}: figures are written as .png, .svg or .pdf")
    reports, steps = own_reports(run, placed_reports(run)), placed_steps(run)
    if not (reports or steps):
        raise UsageError(f"{run.path} has nothing to draw yet: no step and no evaluation")
    panels = bool(reports) + bool(steps)
    with new_figure(panels, width=0.6 + 4.4 * panels, height=3.8, title=run.name) as (figure, axes):
        if reports:
            _draw_evaluations(axes[0], reports)
        if steps:
            _draw_training(axes[-1], steps)
        return save(figure, path)


def _draw_evaluations(axes: Axes, reports: Sequence[Report]) -> None:
    for place, split in enumerate(dict.fromkeys(map(plan_of, reports))):
        for kind, dash in (("greedy", "-"), ("sampled", (0, (4, 2)))):
            found = [report for report in reports if plan_of(report) == split and report.get(kind)]
            if not found:
                continue
            at = [report["at"] for report in found]
            style = look(place)
            axes.plot(at, [r[kind]["accuracy"] for r in found], linestyle=dash, label=f"{split}, {kind}", **style)
            low, high = [r[kind]["low"] for r in found], [r[kind]["high"] for r in found]
            axes.fill_between(at, low, high, color=style["color"], alpha=0.1, linewidth=0)
    axes.set_title("Evaluation, with 95 % intervals")
    axes.set_xlabel("training steps")
    in_percent(axes.yaxis, "accuracy")
    axes.set_ylim(-0.02, 1.02)
    axes.legend(loc="best", fontsize="small")


def _draw_training(axes: Axes, steps: Sequence[dict[str, Any]]) -> None:
    names = {name: label for name, label in TRAINING.items() if any(step.get(name) is not None for step in steps)}
    names = names or {"loss": "loss"}
    for place, (name, label) in enumerate(names.items()):
        found = [(step["at"], float(step[name])) for step in steps if step.get(name) is not None]
        at, values = [step for step, _ in found], [value for _, value in found]
        axes.plot(at, values, color=COLOURS[place], alpha=0.3, linewidth=0.9)
        axes.plot(at, smoothed(values, WINDOW), color=COLOURS[place], label=label)
    axes.set_title(f"Training, and its mean over {WINDOW} steps")
    axes.set_xlabel("training steps")
    axes.set_ylabel("mean over the step's rollouts" if "loss" not in names else "loss (nat per token)")
    axes.legend(loc="best", fontsize="small")


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Means of the last `window` values at each place; of fewer at the beginning."""
    return [sum(part) / len(part) for end in range(1, len(values) + 1) if (part := values[max(0, end - window) : end])]
