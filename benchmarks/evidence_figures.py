"""Figures of a study's outcomes: learning curves, accuracy against similarity, right rollouts in training.

    curves of evaluations ──┐
    last evaluations ───────┼──> evidence-STUDY.svg, beside the docs
    steps of GRPO ──────────┘

An arm has the same colour in all panels; lines are means over seeds, bands reach from the lowest to the highest seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from evidence_tables import Outcomes, curve_points, means, strategy_by_seed, training_blocks
from outcomes import Row

from mentor_kit.report.figure import Axes, draw_line, in_percent, look, new_figure, save

#: label -> steps -> the values of the seeds.
Curves = Mapping[str, Mapping[int, Sequence[float]]]
Panel = Callable[[Axes], None]

SPLIT = "out-of-domain"


def draw(path: Path, panels: Sequence[Panel], arms: Sequence[str]) -> Path:
    """Draw panels side by side, with one legend of all arms.

    Raises:
        MissingError: matplotlib is not installed.
    """
    with new_figure(len(panels), width=0.5 + 4.3 * len(panels), height=4.4) as (figure, axes):
        for panel, place in zip(panels, axes, strict=True):
            panel(place)
        named: dict[str, Any] = {}
        for place in axes:
            for handle, label in zip(*place.get_legend_handles_labels(), strict=True):
                named.setdefault(label, handle)
        shown = [arm for arm in arms if arm in named]
        caption = "lines: mean over seeds; bands: lowest to highest seed"
        figure.legend([named[arm] for arm in shown], shown, loc="outside lower center", ncols=len(shown), title=caption,
                      title_fontsize="small")  # fmt: skip
        return save(figure, path)


def learning_panel(rows: Sequence[Row], arms: Mapping[str, str], title: str, order: Sequence[str]) -> Panel:
    """Greedy accuracy out of domain against training steps; an arm that is not trained is a dashed line.

    Args:
        rows: of the study's curves.
        arms: the label of each line, and its arm.
        title: the panel's.
        order: all labels of the figure, by which colours are given.
    """
    points = curve_points(rows, SPLIT)

    def panel(axes: Axes) -> None:
        _lines(axes, {label: points[arm] for label, arm in arms.items() if arm in points}, order)
        axes.set_title(title)

    return panel


def training_panel(rows: Sequence[Row], arms: Sequence[str], title: str, block: int = 5) -> Panel:
    """The share of right rollouts among those trained on, in blocks of steps."""
    points = training_blocks(rows, block)

    def panel(axes: Axes) -> None:
        middle = {
            arm: {place * block + (block + 1) // 2: values for place, values in points[arm].items()}
            for arm in arms
            if arm in points
        }
        _lines(axes, middle, arms)
        axes.set_title(title)

    return panel


def similarity_panel(outcomes: Outcomes, arms: Sequence[str], title: str) -> Panel:
    """Greedy accuracy out of domain against the similarity to the teacher: arms large, their seeds small."""

    def panel(axes: Axes) -> None:
        for place, arm in enumerate(arms):
            right = means(outcomes.by_seed(arm, SPLIT, "greedy"))
            alike = {seed: found["similarity"] for seed, found in strategy_by_seed(outcomes, arm, SPLIT).items()}
            seeds = sorted(right.keys() & alike.keys())
            if seeds:
                across, up = [alike[seed] for seed in seeds], [right[seed] for seed in seeds]
                axes.plot(fmean(across), fmean(up), label=arm, markersize=9, markeredgecolor="white", linestyle="none",
                          zorder=3, **look(place))  # fmt: skip
                axes.scatter(across, up, s=14, alpha=0.45, linewidths=0, zorder=2, **look(place))
        axes.set_xlabel("tool-use similarity to the teacher (1 - JSD)")
        _percents(axes)
        axes.set_title(title)

    return panel


def seeds_panel(outcomes: Outcomes, arms: Sequence[str], title: str) -> Panel:
    """Greedy accuracy out of domain: a column an arm, a small point a seed, the mean large."""

    def panel(axes: Axes) -> None:
        shown = outcomes.arms(arms)
        for column, arm in enumerate(shown):
            values = list(means(outcomes.by_seed(arm, SPLIT, "greedy")).values())
            style = look(arms.index(arm))
            axes.scatter([column] * len(values), values, s=16, alpha=0.5, linewidths=0, zorder=2, **style)
            style |= {"linestyle": "none", "label": arm}
            axes.plot(column, fmean(values), markersize=9, markeredgecolor="white", zorder=3, **style)
        axes.set_xticks(range(len(shown)), shown, rotation=30, ha="right")
        axes.set_xlim(-0.6, len(shown) - 0.4)
        _percents(axes)
        axes.set_title(title)

    return panel


def _lines(axes: Axes, curves: Curves, order: Sequence[str]) -> None:
    """A line an arm, with the band of its seeds."""
    for arm, points in curves.items():
        drawn = [(step, fmean(values), (min(values), max(values))) for step, values in sorted(points.items())]
        draw_line(axes, arm, drawn, order.index(arm))
    axes.set_xlabel("training steps")
    _percents(axes)


def _percents(axes: Axes) -> None:
    in_percent(axes.yaxis, "accuracy")
    axes.set_ylim(-0.02, 1.02)
