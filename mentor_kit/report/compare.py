"""Compares several runs: means and intervals over seeds, learning curves, and the paper's figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from mentor_kit.report.arms import Arm, Report, RunLike, collect_arms, plan_of, splits_of
from mentor_kit.report.comparison import Comparison, Curve, CurvePoint, Mean, Result
from mentor_kit.report.comparison_figures import draw_curves, draw_similarity
from mentor_kit.report.differences import differences
from mentor_kit.runs.files import write_text
from mentor_kit.stages.tool_strategy import SHARES, STRATEGY
from mentor_kit.utils.statistics import Interval, mean_interval
from mentor_kit.utils.strict_json import to_json

UNBOUNDED: Interval = (-math.inf, math.inf)


def compare(
    runs: Sequence[RunLike], output: Path | None = None, *, root: Path = Path("runs"), against: str | None = None
) -> Comparison:
    """Compare runs, grouped into arms by their recipes' names.

    Args:
        runs: runs, run folders, folders of a recipe's runs, or names below `root`.
        output: a folder for tables and figures; nothing is written without it.
        root: the folder of all runs.
        against: the arm that the others' differences are to; the first one if left out.

    Raises:
        UsageError: there is nothing to compare, something named is not a run, or there is no such arm.
        DataError: a run cannot be read.
        MissingError: figures were asked for, and matplotlib is not installed.
    """
    arms, notes = collect_arms(runs, root)
    splits = splits_of(arms)
    first = arms[0]
    comparison = Comparison(
        title=first.name.removesuffix(first.label).rstrip("-"),
        results=tuple(_results(arms, splits)),
        curves=tuple(_curves(arms, splits)),
        notes=tuple(notes),
        differences=tuple(differences(arms, against)),
    )
    if output is not None:
        write_comparison(comparison, output)
    return comparison


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write tables (Markdown, CSV, JSON) and figures (PNG and SVG) into a folder.

    Raises:
        MissingError: matplotlib is not installed; the tables are written all the same.
    """
    write_text(folder / "comparison.md", comparison.markdown())
    write_text(folder / "comparison.csv", comparison.csv())
    write_text(folder / "comparison.json", to_json(comparison.to_json(), indent=2) + "\n")
    draw_curves(comparison, folder / "learning-curves")
    draw_similarity(comparison, folder / "similarity")


def _results(arms: Sequence[Arm], splits: Sequence[str]) -> Iterator[Result]:
    for arm in arms:
        for split in splits:
            found = [(run.seed, report) for run in arm.runs if (report := run.last(split)) is not None]
            if not found:
                continue
            reports = [report for _, report in found]
            yield Result(
                arm=arm.name,
                label=arm.label,
                split=split,
                seeds=tuple(seed for seed, _ in found),
                steps=max(int(report["at"]) for report in reports),
                problems=max(int(report["problems"]) for report in reports),
                greedy=_accuracy(reports, "greedy"),
                sampled=_accuracy(reports, "sampled"),
                similarity=_mean(reports, "similarity", (0.0, 1.0)),
                reward=_mean(reports, "reward", UNBOUNDED),
                calls_per_problem=_mean(reports, "calls_per_problem", (0.0, math.inf)),
                **{name: _mean(reports, name, (0.0, 1.0 if name in SHARES else math.inf)) for name in STRATEGY},
            )


def _curves(arms: Sequence[Arm], splits: Sequence[str]) -> Iterator[Curve]:
    """Curves over the steps at which every seed of an arm was evaluated."""
    for arm in arms:
        for split in splits:
            by_step: dict[int, dict[int, Report]] = {}
            for run in arm.runs:
                for report in run.reports:
                    if plan_of(report) == split:
                        by_step.setdefault(int(report["at"]), {})[run.seed] = report
            whole = {step: list(found.values()) for step, found in by_step.items() if len(found) == len(arm.runs)}
            for kind in ("greedy", "sampled"):
                means = [(step, _accuracy(whole[step], kind)) for step in sorted(whole)]
                points = tuple(CurvePoint(step, mean) for step, mean in means if mean is not None)
                if points:
                    yield Curve(arm.label, split, kind, points)


def _accuracy(reports: Sequence[Report], kind: str) -> Mean | None:
    found = [report[kind] for report in reports if report.get(kind)]
    if not found:
        return None
    values = tuple(float(item["accuracy"]) for item in found)
    # equal seeds (an untrained student's greedy answers) tell nothing about the spread
    low, high = (found[0].get("low"), found[0].get("high")) if len(set(values)) == 1 else mean_interval(values)
    return Mean(math.fsum(values) / len(values), low, high, values)


def _mean(reports: Sequence[Report], name: str, bounds: Interval) -> Mean | None:
    values = tuple(float(report[name]) for report in reports if report.get(name) is not None)
    if not values:
        return None
    own = (reports[0].get(f"{name}_low"), reports[0].get(f"{name}_high"))
    low, high = mean_interval(values, bounds=bounds) if len(set(values)) > 1 else own
    return Mean(math.fsum(values) / len(values), low, high, values)
