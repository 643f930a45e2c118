"""Draws the figures of a comparison: accuracy against steps, and the paper's accuracy against similarity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mentor_kit.core.task import OUT_OF_DOMAIN
from mentor_kit.report.comparison import Comparison, Curve, Mean
from mentor_kit.report.figure import Axes, Figure, draw_line, in_percent, look, new_figure, save
from mentor_kit.utils.statistics import Interval

KINDS = {"greedy": "Greedy", "sampled": "Sampled"}


def draw_curves(comparison: Comparison, path: Path) -> list[Path]:
    """Accuracy against training steps, a panel for each way of decoding, as PNG and SVG.

    Args:
        comparison: what to draw; out of domain where there is such a split, else its last split.
        path: the files' path without its suffix.
    """
    split = _split(comparison)
    curves = [curve for curve in comparison.curves if curve.split == split]
    kinds = [kind for kind in KINDS if any(curve.kind == kind for curve in curves)]
    order = {label: place for place, label in enumerate(_labels(comparison))}
    with new_figure(len(kinds), width=0.9 + 4.1 * len(kinds), height=4.2, title=comparison.title) as (figure, panels):
        for axes, kind in zip(panels, kinds, strict=True):
            chosen = [curve for curve in curves if curve.kind == kind]
            for curve in chosen:
                points = [(point.step, point.accuracy.value, _band(point.accuracy)) for point in curve.points]
                draw_line(axes, curve.label, points, order[curve.label])
            axes.set_title(f"{KINDS[kind]}, {split}")
            axes.set_xlabel("training steps")
            axes.set_ylim(-0.02, 1.02)
            last = max(point.step for curve in chosen for point in curve.points) or 1
            axes.set_xlim(-0.02 * last, 1.02 * last)
        in_percent(panels[0].yaxis, "accuracy")
        for axes in panels[1:]:
            axes.sharey(panels[0])
            axes.tick_params(labelleft=False)
        _legend(figure, panels[0], _bands(curves))
        return [save(figure, path.with_suffix(suffix)) for suffix in (".png", ".svg")]


def draw_similarity(comparison: Comparison, path: Path) -> list[Path]:
    """Accuracy against tool-use similarity to the teacher, a point for each arm, as PNG and SVG.

    Bars are 95 % intervals. Arms without a similarity are left out; without any, nothing is drawn.
    """
    split = _split(comparison)
    order = {label: place for place, label in enumerate(_labels(comparison))}
    results = [result for result in comparison.results if result.split == split]
    pairs = [(result.label, result.similarity, result.greedy) for result in results]
    drawn = [(label, x, y) for label, x, y in pairs if x is not None and y is not None]
    if not drawn:
        return []
    with new_figure(1, width=6.0, height=4.4, title=comparison.title) as (figure, (axes,)):
        for label, x, y in drawn:
            _draw_point(axes, label, x, y, order[label])
        axes.set_title(f"Greedy, {split}")
        axes.set_xlabel("tool-use similarity to the teacher (1 - JSD)")
        in_percent(axes.yaxis, "accuracy")
        axes.set_ylim(-0.02, 1.02)
        low = min(min(x.values) for _, x, _ in drawn)
        axes.set_xlim(0 if low < 0.3 else low - 0.1, 1.01)
        several = any(len(y.values) > 1 for _, _, y in drawn)
        _legend(figure, axes, "large: mean over seeds, 95 % interval; small: seeds" if several else "95 % interval")
        return [save(figure, path.with_suffix(suffix)) for suffix in (".png", ".svg")]


def _band(mean: Mean) -> Interval:
    """The band of a curve: from the lowest to the highest seed, or of one seed the evaluation's own interval."""
    if len(mean.values) > 1:
        return min(mean.values), max(mean.values)
    return mean.interval or (mean.value, mean.value)


def _bands(curves: Sequence[Curve]) -> str:
    """The legend's caption on bands."""
    counts = {len(point.accuracy.values) > 1 for curve in curves for point in curve.points}
    of_seeds, of_problems = "lowest to highest seed", "95 % interval over problems"
    if counts == {True}:
        return f"lines: mean over seeds; bands: {of_seeds}"
    return f"bands: {of_problems}" if True not in counts else f"bands: {of_seeds}; of one seed: {of_problems}"


def _draw_point(axes: Axes, label: str, x: Mean, y: Mean, place: int) -> None:
    style = look(place)
    axes.errorbar(
        x.value,
        y.value,
        xerr=_reach(x),
        yerr=_reach(y),
        label=label,
        markersize=9,
        markeredgecolor="white",
        elinewidth=1.2,
        linestyle="none",
        zorder=3,
        **style,
    )
    if len(x.values) == len(y.values) > 1:
        axes.scatter(x.values, y.values, s=14, alpha=0.45, linewidths=0, zorder=2, **style)


def _reach(mean: Mean) -> list[list[float]] | None:
    """The lengths of the interval below and above the mean."""
    if mean.interval is None:
        return None
    low, high = mean.interval
    return [[max(0.0, mean.value - low)], [max(0.0, high - mean.value)]]


def _legend(figure: Figure, axes: Axes, caption: str) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), title=caption or None,
                  title_fontsize="small")  # fmt: skip


def _labels(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(result.label for result in comparison.results))


def _split(comparison: Comparison) -> str:
    splits = comparison.splits
    return OUT_OF_DOMAIN if OUT_OF_DOMAIN in splits else splits[-1]
