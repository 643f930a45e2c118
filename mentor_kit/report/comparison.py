"""A comparison of runs as data: arms, their results with intervals, learning curves, and the tables of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rich.table import Table

from mentor_kit.core.frozen_model import Json
from mentor_kit.report.differences import METHOD as PAIRED_METHOD
from mentor_kit.report.differences import ArmDifference
from mentor_kit.report.differences import sheet as differences_sheet
from mentor_kit.report.tables import Sheet, csv_text, percent_within, share, wrapped
from mentor_kit.stages.tool_strategy import STRATEGY
from mentor_kit.utils.statistics import Interval

#: The metrics of a result, in the order of a table's columns.
METRICS = ("greedy", "sampled", "similarity", "reward", "calls_per_problem", *STRATEGY)

#: How means and intervals are computed, below a table.
METHOD = (
    "Mean over seeds, with Student's 95 % interval where seeds differ, else the evaluation's own "
    "interval over problems. Similarity to the teacher is 1 - JSD of the executed tool calls' names, greedy."
)


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
    """The metrics of an arm on a split in its last evaluation.

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
    needless_calls: Mean | None = None
    missing_calls: Mean | None = None
    teacher_order: Mean | None = None
    recovery_rate: Mean | None = None
    calls_per_right_answer: Mean | None = None


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


@dataclass(frozen=True)
class Comparison:
    """Arms side by side, a result for every arm and split."""

    title: str
    """The prefix that all arms' names share; may be empty."""
    results: tuple[Result, ...]
    curves: tuple[Curve, ...]
    notes: tuple[str, ...]
    """Runs that were left out, and differences that make arms hard to compare."""
    differences: tuple[ArmDifference, ...] = ()
    """What the other arms have over one of them, paired by seed and problem; none of a single arm."""

    @property
    def sheet(self) -> Sheet:
        """The results as a table; accuracies in percent, with 95 % intervals."""
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
    def strategy_sheet(self) -> Sheet | None:
        """How well calls are chosen and ordered beside the teacher's, as a table; None where no evaluation has that."""
        heads = ("split", "arm", "needless", "missing", "in order", "recovered", "calls a right answer")
        ordered = sorted(self.results, key=lambda result: self.splits.index(result.split))
        means = [(result, [getattr(result, name) for name in STRATEGY]) for result in ordered]
        rows = [
            (result.split, result.label, *(share(mean.value if mean else None) for mean in found))
            for result, found in means
            if any(found)
        ]
        return Sheet("Choice of calls, beside the teacher", heads, tuple(rows), left=2) if rows else None

    @property
    def splits(self) -> list[str]:
        """The splits, in the order of their first evaluation."""
        return list(dict.fromkeys(result.split for result in self.results))

    def table(self) -> Table:
        """The results as a table of rich, for a terminal."""
        return self.sheet.table()

    def text(self, width: int | None = None) -> str:
        """The results and notes as plain lines of at most `width` columns."""
        notes = (wrapped(f"note: {note}", width) for note in self.notes)
        strategy = self.strategy_sheet
        more = [strategy] if strategy else []
        more += [differences_sheet(self.differences)] if self.differences else []
        tables = "\n".join(sheet.text(width) for sheet in (self.sheet, *more))
        return tables + "".join(f"{note}\n" for note in notes)

    def markdown(self) -> str:
        """A Markdown table, with the notes below."""
        notes = "".join(f"- {note}\n" for note in self.notes)
        paired = differences_sheet(self.differences).markdown() if self.differences else ""
        paired = f"\n{paired}\n{PAIRED_METHOD}\n" if paired else ""
        strategy = f"\n{self.strategy_sheet.markdown()}" if self.strategy_sheet else ""
        return f"{self.sheet.markdown()}\n{METHOD}\n{strategy}{paired}" + (f"\n{notes}" if notes else "")

    def csv(self) -> str:
        """A row for every arm and split; metrics with `_low` and `_high`."""
        heads = ["arm", "split", "seeds", "steps", "problems"]
        heads += [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")]
        rows: list[list[object]] = []
        for result in self.results:
            seeds = " ".join(map(str, result.seeds))
            row: list[object] = [result.arm, result.split, seeds, result.steps, result.problems]
            for name in METRICS:
                mean: Mean | None = getattr(result, name)
                row += [mean.value, mean.low, mean.high] if mean else [None, None, None]
            rows.append(row)
        return csv_text(heads, rows)

    def to_json(self) -> dict[str, Json]:
        """The comparison as JSON."""
        return asdict(self) | {
            "differences": [asdict(each) | {"excludes_zero": each.excludes_zero} for each in self.differences]
        }
