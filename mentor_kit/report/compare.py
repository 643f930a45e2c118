"""Several runs side by side: a table with means and intervals, learning curves, and the paper's figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from mentor_kit.core.frozen_model import Json
from mentor_kit.report.arms import Arm, Report, RunLike, collect_arms, plan_of, splits_of
from mentor_kit.report.tables import Sheet, csv_text, percent_within, share, wrapped
from mentor_kit.runs.files import to_json, write_text
from mentor_kit.utils.statistics import Interval, mean_interval

UNBOUNDED: Interval = (-math.inf, math.inf)


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with its 95 % interval."""

    value: float
    low: float | None
    """None where the spread is not known: seeds are one or all the same, and the evaluation has no interval."""
    high: float | None
    values: tuple[float, ...]
    """One a seed."""

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class Result:
    """How an arm did on a split in its last evaluation.

    Intervals are Student's over seeds where these differ, else the evaluation's own over problems.
    """

    arm: str
    label: str
    split: str
    seeds: tuple[int, ...]
    steps: int
    """Training steps before the evaluation, over all stages."""
    problems: int
    greedy: Mean | None
    sampled: Mean | None
    similarity: Mean | None
    """Tool-use similarity to the teacher, 1 - JSD, of the greedy episodes."""
    reward: Mean | None
    calls_per_problem: Mean | None


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy of an arm after some training steps."""

    step: int
    accuracy: Mean


@dataclass(frozen=True)
class Curve:
    """Accuracy against training steps."""

    label: str
    split: str
    kind: str
    """`greedy` or `sampled`."""
    points: tuple[CurvePoint, ...]


MEASURES = ("greedy", "sampled", "similarity", "reward", "calls_per_problem")


@dataclass(frozen=True)
class Comparison:
    """Arms side by side, a result for every arm and split."""

    title: str
    """What all arms' names start with; may be empty."""
    results: tuple[Result, ...]
    curves: tuple[Curve, ...]
    notes: tuple[str, ...]
    """What was left out, and what makes arms hard to compare."""

    @property
    def sheet(self) -> Sheet:
        """As a table of texts; accuracies in percent, with 95 % intervals."""
        heads = ("split", "arm", "seeds", "steps", "greedy, %", "sampled, %", "similarity", "reward", "calls")
        ordered = sorted(self.results, key=lambda result: self.splits.index(result.split))
        rows = [
            (
                result.split,
                result.label,
                str(len(result.seeds)),
                str(result.steps),
                *(
                    percent_within(mean.value if mean else None, mean.interval if mean else None)
                    for mean in (result.greedy, result.sampled)
                ),
                *(
                    share(mean.value if mean else None)
                    for mean in (result.similarity, result.reward, result.calls_per_problem)
                ),
            )
            for result in ordered
        ]
        title = "Accuracy with 95 % intervals, similarity to the teacher, reward, and calls per problem"
        return Sheet(
            f"{self.title}: {title[0].lower()}{title[1:]}" if self.title else title, heads, tuple(rows), left=2
        )

    @property
    def splits(self) -> list[str]:
        """The splits, in the order of their first evaluation."""
        return list(dict.fromkeys(result.split for result in self.results))

    def table(self) -> Table:
        """For a terminal."""
        return self.sheet.table()

    def text(self, width: int | None = None) -> str:
        """Plain lines, in so many columns."""
        notes = (wrapped(f"note: {note}", width) for note in self.notes)
        return self.sheet.text(width) + "".join(f"{note}\n" for note in notes)

    def markdown(self) -> str:
        """A Markdown table, with the notes below."""
        notes = "".join(f"- {note}\n" for note in self.notes)
        return f"{self.sheet.markdown()}\n{METHOD}\n" + (f"\n{notes}" if notes else "")

    def csv(self) -> str:
        """A row for every arm and split; measures with `_low` and `_high`."""
        heads = ["arm", "split", "seeds", "steps", "problems"]
        heads += [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
        rows: list[list[object]] = []
        for result in self.results:
            seeds = " ".join(map(str, result.seeds))
            row: list[object] = [result.arm, result.split, seeds, result.steps, result.problems]
            for name in MEASURES:
                mean: Mean | None = getattr(result, name)
                row += [mean.value, mean.low, mean.high] if mean else [None, None, None]
            rows.append(row)
        return csv_text(heads, rows)

    def to_json(self) -> dict[str, Json]:
        """Everything, for programs."""
        return asdict(self)

    def write(self, folder: Path) -> None:
        """Write tables (Markdown, CSV, JSON) and figures (PNG and SVG) into a folder.

        Raises:
            MissingError: matplotlib is not installed; the tables are written all the same.
        """
        from mentor_kit.report.comparison_figures import draw_curves, draw_similarity

        write_text(folder / "comparison.md", self.markdown())
        write_text(folder / "comparison.csv", self.csv())
        write_text(folder / "comparison.json", to_json(self.to_json(), indent=2) + "\n")
        draw_curves(self, folder / "learning-curves")
        draw_similarity(self, folder / "similarity")


METHOD = (
    "Mean over seeds, with Student's 95 % interval where seeds differ, else the evaluation's own "
    "interval over problems. Similarity to the teacher is 1 - JSD of the executed tool calls' names, greedy."
)


def compare(runs: Sequence[RunLike], output: Path | None = None, *, root: Path = Path("runs")) -> Comparison:
    """Compare runs, grouped into arms by their recipes' names.

    Args:
        runs: runs, run folders, folders of a recipe's runs, or names below `root`.
        output: a folder for tables and figures; nothing is written without it.
        root: the folder of all runs.

    Raises:
        UsageError: there is nothing to compare.
        UsageError: something named is not a run.
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
    )
    if output is not None:
        comparison.write(output)
    return comparison


def _results(arms: Sequence[Arm], splits: Sequence[str]) -> Iterator[Result]:
    for arm in arms:
        for split in splits:
            found = [(played.seed, report) for played in arm.played if (report := played.last(split)) is not None]
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
            )


def _curves(arms: Sequence[Arm], splits: Sequence[str]) -> Iterator[Curve]:
    """Curves over the steps at which every seed of an arm was evaluated."""
    for arm in arms:
        for split in splits:
            by_step: dict[int, dict[int, Report]] = {}
            for played in arm.played:
                for report in played.reports:
                    if plan_of(report) == split:
                        by_step.setdefault(int(report["at"]), {})[played.seed] = report
            whole = {step: list(found.values()) for step, found in by_step.items() if len(found) == len(arm.played)}
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
    # seeds that all give the same (an untrained student's greedy answers) say nothing about the spread
    low, high = (found[0].get("low"), found[0].get("high")) if len(set(values)) == 1 else mean_interval(values)
    return Mean(math.fsum(values) / len(values), low, high, values)


def _mean(reports: Sequence[Report], name: str, bounds: Interval) -> Mean | None:
    values = tuple(float(report[name]) for report in reports if report.get(name) is not None)
    if not values:
        return None
    own = (reports[0].get(f"{name}_low"), reports[0].get(f"{name}_high"))
    low, high = mean_interval(values, bounds=bounds) if len(set(values)) > 1 else own
    return Mean(math.fsum(values) / len(values), low, high, values)
