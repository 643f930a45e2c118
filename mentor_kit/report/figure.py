"""The style of figures, and writing them. Matplotlib is imported when a figure is drawn, never before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from mentor_kit.core.errors import MissingError
from mentor_kit.runs.files import storage_errors
from mentor_kit.utils.files import NEW
from mentor_kit.utils.statistics import Interval

Figure: TypeAlias = Any
Axes: TypeAlias = Any

#: Okabe and Ito's palette (2008), which colour-blind readers can tell apart, but for its yellow, which white swallows:
#: Tol's wine (2021) stands in its place. The markers help in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": "#333333",
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "svg.hashsalt": "mentor-kit",
    "svg.fonttype": "none",
}


@contextmanager
def new_figure(columns: int, *, width: float, height: float, title: str = "") -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with panels side by side, in this package's style; sizes in inches.

    Raises:
        MissingError: matplotlib is not installed.
    """
    try:
        matplotlib = import_module("matplotlib")
        figures = import_module("matplotlib.figure")
    except ImportError:
        raise MissingError("figures need matplotlib", hint="pip install 'mentor-kit[report]'") from None
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "agg", **STYLE}):
        figure = figures.Figure(figsize=(width, height), layout="constrained")
        panels = figure.subplots(1, columns, squeeze=False)[0]
        figure.get_layout_engine().set(wspace=0.06)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        yield figure, list(panels)


def look(place: int) -> dict[str, str]:
    """Colour and marker of the item at a place in a list."""
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def draw_line(axes: Axes, label: str, points: Sequence[tuple[int, float, Interval]], place: int) -> None:
    """A line with its band; what was evaluated before training alone is a dashed line across the panel.

    Args:
        axes: the panel.
        label: in the legend.
        points: training steps, value, and the band's lower and upper end.
        place: in the list by which `look` gives colours.
    """
    style = look(place)
    steps, values, bands = zip(*points, strict=True)
    if steps == (0,):
        axes.axhline(values[0], label=label, color=style["color"], linestyle=(0, (5, 3)), linewidth=1.4)
        axes.axhspan(*bands[0], color=style["color"], alpha=0.07, linewidth=0)
        return
    axes.plot(steps, values, label=label, **style)
    lows, highs = zip(*bands, strict=True)
    axes.fill_between(steps, lows, highs, color=style["color"], alpha=0.14, linewidth=0)


def in_percent(axis: Axes, label: str) -> None:
    """Make an axis from 0 to 1 read as percent."""
    axis.set_label_text(f"{label} (%)")
    axis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format of the path's suffix; whole, or not at all. The same figure, the same bytes."""
    temporary = path.with_name(f"{NEW}{path.name}")
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None} if path.suffix == ".png" else None
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            figure.savefig(temporary, format=path.suffix[1:], dpi=160, metadata=metadata)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path
