"""Compares two evaluations problem by problem, with McNemar's test of the problems that only one of them solved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mentor_kit.core.errors import UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.report.arms import RunLike, own_reports, placed_reports, plan_of, subject_of
from mentor_kit.report.before_after import KINDS, outcomes_of
from mentor_kit.report.tables import Sheet, points, wrapped
from mentor_kit.runs import Run
from mentor_kit.runs.files import write_text
from mentor_kit.utils.statistics import Difference, mcnemar, paired_difference
from mentor_kit.utils.strict_json import to_json

METHOD = (
    "Difference: B minus A, in percentage points, with its 95 % interval (Newcombe's method 10 where every outcome is "
    "right or wrong, else Student's on the problems' differences). p: McNemar's exact two-sided test of the problems "
    "that changed. Only problems that are in both count."
)


@dataclass(frozen=True)
class SolvedCounts:
    """The numbers of problems that both, one or none of two agents solved."""

    both: int
    only_a: int
    only_b: int
    neither: int
    p: float
    """McNemar's exact p."""

    @staticmethod
    def of(a: Sequence[float], b: Sequence[float]) -> SolvedCounts | None:
        """The counts of outcomes that are each 0 or 1; None if any is not."""
        if not {*a, *b} <= {0.0, 1.0}:
            return None
        found = list(zip(a, b, strict=True))
        only_a, only_b = found.count((1, 0)), found.count((0, 1))
        return SolvedCounts(found.count((1, 1)), only_a, only_b, found.count((0, 0)), mcnemar(only_b, only_a))

    @property
    def texts(self) -> tuple[str, ...]:
        """The counts as cells of a table."""
        p = f"{self.p:.3f}" if self.p >= 0.001 else f"{self.p:.1e}"
        return str(self.both), str(self.only_a), str(self.only_b), str(self.neither), p


@dataclass(frozen=True)
class Pair:
    """Both agents on one split, with one way of decoding."""

    split: str
    kind: str
    """`greedy` or `sampled`."""
    a: float
    """A's accuracy on the problems that are in both evaluations."""
    b: float
    difference: Difference
    """B minus A."""
    counts: SolvedCounts | None
    """None where outcomes are means of several samples."""
    gained: tuple[str, ...]
    """Ids of the problems on which B did better."""
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Paired:
    """A comparison of two evaluations."""

    a: str
    """The run of A, with the agent where that is not the run's student."""
    b: str
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]

    @property
    def sheet(self) -> Sheet:
        """The pairs as a table."""
        heads = ("split", "decoding", "A, %", "B, %", "B - A", "95 % interval", "both", "only A", "only B", "neither")
        rows = [
            (
                pair.split,
                pair.kind,
                f"{100 * pair.a:.1f}",
                f"{100 * pair.b:.1f}",
                points(pair.difference.mean),
                f"{points(pair.difference.low)} to {points(pair.difference.high)}",
                *(pair.counts.texts if pair.counts else ("–",) * 5),
            )
            for pair in self.pairs
        ]
        return Sheet("The same problems, A against B", (*heads, "p"), tuple(rows), left=2)

    def text(self, show: int = 0, width: int | None = None) -> str:
        """The table and notes as plain lines.

        Args:
            show: how many of the problems that changed are named.
            width: columns of the lines; as many as they need if left out.
        """
        lines = [wrapped(f"A: {self.a}", width), wrapped(f"B: {self.b}", width), "", self.sheet.text(width).rstrip()]
        for pair in self.pairs if show else ():
            for word, names in (("better with B", pair.gained), ("better with A", pair.lost)):
                if names:
                    more = f", and {len(names) - show} more" if len(names) > show else ""
                    lines.append(wrapped(f"{pair.split}, {pair.kind}, {word}: {', '.join(names[:show])}{more}", width))
        return "\n".join([*lines, *(wrapped(f"note: {note}", width) for note in self.notes)]) + "\n"

    def to_json(self) -> dict[str, Json]:
        """The comparison as JSON."""
        return asdict(self)

    def write(self, folder: Path) -> None:
        """Write `paired.md` and `paired.json` into a folder."""
        notes = "".join(f"- {note}\n" for note in self.notes)
        head = f"A: {self.a}\n\nB: {self.b}\n\n"
        write_text(folder / "paired.md", f"{head}{self.sheet.markdown()}\n{METHOD}\n" + (f"\n{notes}" if notes else ""))
        write_text(folder / "paired.json", to_json(self.to_json(), indent=2) + "\n")


def paired(runs: Sequence[RunLike], output: Path | None = None, *, root: Path = Path("runs")) -> Paired:
    """Compare the last evaluations of two runs, or of one run its last with its first, problem by problem.

    Of a run that has evaluated its student and other agents, the student's evaluations are compared.

    Args:
        runs: A and B, each a run, its folder, or a name below `root` for its newest run that trains; or one run alone.
        output: a folder for the table; nothing is written without it.
        root: the folder of all runs.

    Raises:
        UsageError: there are not one or two runs, or they have no problem in common.
        UsageError: something named is not a run.
    """
    if not 1 <= len(runs) <= 2:
        raise UsageError(f"a paired comparison is of two runs, not of {len(runs)}", hint="name A and B, or one run")
    found = [run if isinstance(run, Run) else Run.open(run, root, lambda run: run.trains) for run in runs]
    reports = [own_reports(run, placed_reports(run)) for run in found]
    if len(found) == 1:
        first, last = _by_plan(list(reversed(reports[0]))), _by_plan(reports[0])
        names = (_name(found[0], first, ", first evaluation"), _name(found[0], last, ", last evaluation"))
    else:
        first, last = map(_by_plan, reports)
        names = (_name(found[0], first), _name(found[1], last))
    pairs = [pair for split in first if split in last for pair in _pairs(split, first[split], last[split])]
    if not pairs:
        raise UsageError(
            "the two have no problem in common",
            hint=f"A was evaluated on: {', '.join(first) or 'nothing'}; B on: {', '.join(last) or 'nothing'}",
        )
    comparison = Paired(*names, tuple(pairs), tuple(_notes(first, last)))
    if output is not None:
        comparison.write(output)
    return comparison


def _by_plan(reports: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The last report of every name."""
    return {plan_of(report): report for report in reports}


def _name(run: Run, reports: Mapping[str, Mapping[str, Any]], which: str = "") -> str:
    """The run, and the agent where that is not the student that it trains."""
    subjects = [subject_of(run, dict(report)) for report in reports.values()]
    agents = dict.fromkeys(f", {subject.text}" for subject in subjects if subject.kind in ("checkpoint", "agent"))
    return f"{run.path}{''.join(agents)}{which}"


def _pairs(split: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Pair]:
    for place, kind in enumerate(KINDS):
        ours, theirs = outcomes_of(a, place), outcomes_of(b, place)
        names = [name for name in ours if name in theirs]
        if not names:
            continue
        before, after = [ours[name] for name in names], [theirs[name] for name in names]
        yield Pair(
            split=split,
            kind=kind,
            a=sum(before) / len(names),
            b=sum(after) / len(names),
            difference=paired_difference(before, after),
            counts=SolvedCounts.of(before, after),
            gained=tuple(name for name in names if theirs[name] > ours[name]),
            lost=tuple(name for name in names if theirs[name] < ours[name]),
        )


def _notes(a: Mapping[str, Mapping[str, Any]], b: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for split in a:
        if split not in b:
            yield f"{split}: B was not evaluated on it"
            continue
        ours, theirs = a[split].get("outcomes", {}), b[split].get("outcomes", {})
        alone = len(set(ours) ^ set(theirs))
        if alone and set(ours) & set(theirs):
            yield f"{split}: {alone} problems that are in only one of them are left out"
    yield from (f"{split}: A was not evaluated on it" for split in b if split not in a)
