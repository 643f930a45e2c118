"""Tables of a study's outcomes: accuracy, paired differences, choice of calls, learning curves.

Everything is computed from the rows of benchmarks/outcomes.py, by the definitions of docs/evaluation.md.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

from outcomes import Row

from mentor_kit.report.tables import Sheet, percent_within, points, share
from mentor_kit.stages.tool_strategy import common_length
from mentor_kit.utils.crossed import crossed_difference
from mentor_kit.utils.statistics import Difference, Interval, clustered_interval, mean_interval, similarity, wilson

KINDS = ("greedy", "sampled")

#: seed -> problem -> the mean outcome of its episodes.
BySeed = dict[int, dict[str, float]]


@dataclass(frozen=True)
class Outcomes:
    """The episodes of a study, looked up by arm, split and way of decoding."""

    rows: Sequence[Row]

    @property
    def splits(self) -> list[str]:
        """The splits, those of the trained task first."""
        first = ("in-domain", "out-of-domain", "cross-domain")
        found = {split for _, split, _ in self._index}
        return [name for name in first if name in found] + sorted(found - {*first})

    def arms(self, order: Sequence[str]) -> list[str]:
        """Those of the arms that were run."""
        found = {arm for arm, _, _ in self._index}
        return [name for name in order if name in found]

    def episodes(self, arm: str, split: str, decoding: str) -> list[Row]:
        """The episodes of an arm's seeds on a split."""
        return self._index.get((arm, split, decoding), [])

    def start(self, arm: str, seed: int) -> str | None:
        """The arm whose student a seed's training began with; None for the study's own."""
        return self._starts.get((arm, seed))

    @cached_property
    def _starts(self) -> Mapping[tuple[str, int], str]:
        return {(row["arm"], row["seed"]): row["start"] for row in self.rows if row.get("start")}

    @cached_property
    def _index(self) -> Mapping[tuple[str, str, str], list[Row]]:
        found: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
        for row in self.rows:
            found[row["arm"], row["split"], row["decoding"]].append(row)
        return dict(found)

    def by_seed(self, arm: str, split: str, decoding: str) -> BySeed:
        """The mean outcome of each problem, by seed."""
        found: dict[int, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
        for row in self.episodes(arm, split, decoding):
            found[row["seed"]][row["problem"]].append(row["correct"])
        return {
            seed: {problem: sum(right) / len(right) for problem, right in problems.items()}
            for seed, problems in sorted(found.items())
        }


def accuracy(outcomes: BySeed) -> tuple[float, Interval] | None:
    """The mean over seeds, with Student's interval where seeds differ, else that over problems; None of nothing."""
    if not outcomes:
        return None
    seeds = list(means(outcomes).values())
    if len(set(seeds)) > 1:
        return math.fsum(seeds) / len(seeds), mean_interval(seeds)
    problems = next(iter(outcomes.values()))
    values = list(problems.values())
    if {*values} <= {0.0, 1.0}:
        return seeds[0], wilson(round(sum(values)), len(values))
    return seeds[0], clustered_interval(values, list(problems))


def means(outcomes: BySeed) -> dict[int, float]:
    """The accuracy of each seed."""
    return {seed: math.fsum(problems.values()) / len(problems) for seed, problems in outcomes.items()}


def difference(arm: BySeed, base: BySeed, *, start: bool = False, most: float = 1.0) -> Difference | None:
    """What an arm has over another, paired by seed and problem, of the seeds that both have.

    Args:
        arm: the one.
        base: the other.
        start: whether training begins with the base: then a base of one run is that of all seeds.
        most: what an outcome may be at most; it is 0 at least.
    """
    if not arm or not base:
        return None
    only = next(iter(base.values())) if start and len(base) == 1 else None
    pairs = [(own, base.get(seed, only)) for seed, own in arm.items()]
    both = [(own, other) for own, other in pairs if other is not None]
    if not both:
        return None
    problems = [name for name in both[0][0] if all(name in own and name in other for own, other in both)]
    found = crossed_difference([[(own[name] - other[name]) / most for name in problems] for own, other in both])
    return replace(found, mean=most * found.mean, low=most * found.low, high=most * found.high)


def accuracy_sheet(outcomes: Outcomes, arms: Sequence[str]) -> Sheet:
    """Accuracy of every arm and split."""
    rows = []
    for split in outcomes.splits:
        for arm in outcomes.arms(arms):
            found = [outcomes.by_seed(arm, split, kind) for kind in KINDS]
            main = found[0] or found[1]
            if main:
                steps = max(row["step"] for kind in KINDS for row in outcomes.episodes(arm, split, kind))
                count = max(map(len, main.values()))
                shown = [percent_within(*(accuracy(each) or (None, None))) for each in found]
                rows.append((split, arm, str(len(main)), str(steps), str(count), *shown))
    return Sheet("", ("split", "arm", "seeds", "steps", "problems", "greedy, %", "sampled, %"), tuple(rows), left=2)


def seed_sheet(outcomes: Outcomes, arms: Sequence[str], split: str) -> Sheet:
    """Accuracy on one split, in percent: a row an arm, a column a seed; greedy and sampled."""
    found = {(arm, kind): outcomes.by_seed(arm, split, kind) for arm in outcomes.arms(arms) for kind in KINDS}
    seeds = sorted({seed for by_seed in found.values() for seed in by_seed})
    rows = [
        (arm, *(_seed_cell([found[arm, kind].get(seed) for kind in KINDS]) for seed in seeds))
        for arm in outcomes.arms(arms)
    ]
    return Sheet("", ("arm", *(f"seed {seed}" for seed in seeds)), tuple(rows))


def _seed_cell(kinds: Sequence[Mapping[str, float] | None]) -> str:
    return " / ".join(_percent(_mean(list(problems.values())) if problems else None) for problems in kinds)


def difference_sheet(outcomes: Outcomes, pairs: Sequence[tuple[str, str]]) -> Sheet:
    """The differences of pairs of arms on every split."""
    rows = []
    for split, (arm, base), kind in product(outcomes.splits, pairs, KINDS):
        own, other = (outcomes.by_seed(name, split, kind) for name in (arm, base))
        if found := difference(own, other):
            seeds = str(len(own.keys() & other.keys()))
            rows.append((split, f"{arm} - {base}", kind, seeds, *difference_cells(found)))
    return Sheet("", _heads("seeds"), tuple(rows), left=3)


def rise_sheet(outcomes: Outcomes, pairs: Sequence[tuple[str, str]]) -> Sheet:
    """What each seed alone has over what it began with, over problems.

    Args:
        outcomes: of the study.
        pairs: each arm with the one that its seeds began with, unless their rows name another.
    """
    rows = []
    for split, (arm, base), kind in product(outcomes.splits, pairs, KINDS):
        for seed, own in outcomes.by_seed(arm, split, kind).items():
            start = outcomes.start(arm, seed) or base
            if found := difference({seed: own}, outcomes.by_seed(start, split, kind), start=True):
                rows.append((split, f"{arm} - {start}", kind, str(seed), *difference_cells(found)))
    return Sheet("", _heads("seed"), tuple(rows), left=3)


def _heads(seeds: str) -> tuple[str, ...]:
    return ("split", "arms", "decoding", seeds, "difference", "95 % interval", "excludes 0")


def difference_cells(found: Difference) -> tuple[str, str, str]:
    """A difference, its interval, and whether that excludes 0."""
    excludes = found.low > 0 or found.high < 0
    return points(found.mean), f"{points(found.low)} to {points(found.high)}", "yes" if excludes else "no"


def summary_sheet(studies: Mapping[str, tuple[Outcomes, str]], arms: Sequence[str], split: str) -> Sheet:
    """Greedy accuracy of several studies on one split, in percent: a row a study, a column an arm, means over seeds.

    Args:
        studies: by their names; each with its arm before training.
        arms: the others.
        split: the split's name.
    """
    rows = []
    for name, (outcomes, base) in studies.items():
        found = [outcomes.by_seed(arm, split, "greedy") for arm in (base, *arms)]
        rows.append(
            (
                name,
                _numbers([len(each) for each in found[1:] if each]),
                *(_percent(_mean([*means(each).values()])) for each in found),
            )
        )
    return Sheet("", ("student", "seeds", "before", *arms), tuple(rows))


def verdict_sheet(studies: Mapping[str, tuple[Outcomes, Sequence[tuple[str, str]]]], splits: Sequence[str]) -> Sheet:
    """The greedy differences of several studies' pairs of arms: a row a study and pair, two columns a split."""
    rows = []
    for name, (outcomes, pairs) in studies.items():
        for arm, base in pairs:
            found = [[outcomes.by_seed(each, split, "greedy") for each in (arm, base)] for split in splits]
            made = [difference(own, other) for own, other in found]
            if None not in made:
                shown = [difference_cells(each) for each in made if each is not None]
                cells = (cell for mean, interval, excludes in shown for cell in (f"{mean} ({interval})", excludes))
                both = len(found[0][0].keys() & found[0][1].keys())
                rows.append((name, f"{arm} - {base}", str(both), *cells))
    heads = (head for split in splits for head in (split, "excludes 0"))
    return Sheet("", ("student", "arms", "seeds", *heads), tuple(rows), left=2)


def call_sheet(studies: Mapping[str, tuple[Outcomes, Sequence[tuple[str, str]]]], split: str) -> Sheet:
    """As `verdict_sheet` on one split, of needless and of missing calls a problem."""
    rows = []
    for name, (outcomes, pairs) in studies.items():
        for arm, base in pairs:
            cells: list[str] = []
            for kind in CALLS:
                own, other = (calls_by_seed(outcomes, each, split, kind) for each in (arm, base))
                most = max((value for each in (own, other) for by in each.values() for value in by.values()), default=0)
                if (found := difference(own, other, most=max(most, 1.0))) is not None:
                    cells += [
                        f"{_signed(found.mean)} ({_signed(found.low)} to {_signed(found.high)})",
                        "yes" if found.low > 0 or found.high < 0 else "no",
                    ]
            if cells:
                rows.append((name, f"{arm} - {base}", str(len(own.keys() & other.keys())), *cells))
    heads = (head for kind in CALLS for head in (f"{kind} calls", "excludes 0"))
    return Sheet("", ("student", "arms", "seeds", *heads), tuple(rows), left=2)


CALLS = ("needless", "missing")


def calls_by_seed(outcomes: Outcomes, arm: str, split: str, kind: str) -> BySeed:
    """The calls of each problem's greedy episode, by seed, that are `needless`, or `missing`, beside the teacher's."""
    found: BySeed = defaultdict(dict)
    for row in outcomes.episodes(arm, split, "greedy"):
        if row["teacher_tools"] is not None:
            own, shown = (Counter(row[name].split()) for name in ("tools", "teacher_tools"))
            found[row["seed"]][row["problem"]] = (own - shown if kind == "needless" else shown - own).total()
    return dict(sorted(found.items()))


def _signed(value: float) -> str:
    shown = f"{value:+.2f}"
    return "+0.00" if shown == "-0.00" else shown


def _numbers(counts: Sequence[int]) -> str:
    """One number, or the least and the largest."""
    return "–" if not counts else str(counts[0]) if len({*counts}) == 1 else f"{min(counts)} to {max(counts)}"


def strategy_sheet(outcomes: Outcomes, arms: Sequence[str]) -> Sheet:
    """Similarity and the choice of calls beside the teacher: means over seeds, of the greedy episodes."""
    rows = []
    for split in outcomes.splits:
        for arm in outcomes.arms(arms):
            if found := list(strategy_by_seed(outcomes, arm, split).values()):
                shown = {name: share(_mean([each.get(name) for each in found])) for name in STRATEGY}
                # a share of few failed calls says little without their number
                shown["recovered"] = _recovered(outcomes.episodes(arm, split, "greedy"))
                rows.append((split, arm, *shown.values()))
    heads = ("split", "arm", "similarity", "needless", "missing", "in order", "recovered", "calls a right answer")
    return Sheet("", heads, tuple(rows), left=2)


def _recovered(episodes: Sequence[Row]) -> str:
    wrong = sum(row["wrong"] for row in episodes)
    return f"{sum(row['recovered'] for row in episodes)} of {wrong}" if wrong else "–"


def strategy_by_seed(outcomes: Outcomes, arm: str, split: str) -> dict[int, dict[str, float]]:
    """The metrics of each seed's greedy episodes; seeds without any are left out."""
    by_seed: dict[int, list[Row]] = defaultdict(list)
    for row in outcomes.episodes(arm, split, "greedy"):
        by_seed[row["seed"]].append(row)
    return {seed: found for seed, episodes in sorted(by_seed.items()) if (found := strategy(episodes))}


STRATEGY = ("similarity", "needless", "missing", "order", "recovered", "calls_per_right")


def strategy(episodes: Sequence[Row]) -> dict[str, float]:
    """The metrics of some episodes; each is left out where there is nothing to compute it from.

    As `mentor_kit.stages.tool_strategy.strategy_metrics` and `mentor_kit.utils.statistics.similarity` have them.
    """
    pairs = [
        (row["tools"].split(), row["teacher_tools"].split()) for row in episodes if row["teacher_tools"] is not None
    ]
    found: dict[str, float] = {}
    if pairs:
        used = Counter(name for own, _ in pairs for name in own)
        found["similarity"] = similarity(used, Counter(name for _, shown in pairs for name in shown))
        found["needless"] = math.fsum((Counter(own) - Counter(shown)).total() for own, shown in pairs) / len(pairs)
        found["missing"] = math.fsum((Counter(shown) - Counter(own)).total() for own, shown in pairs) / len(pairs)
    if ordered := [common_length(own, shown) / len(shown) for own, shown in pairs if shown]:
        found["order"] = math.fsum(ordered) / len(ordered)
    if wrong := sum(row["wrong"] for row in episodes):
        found["recovered"] = sum(row["recovered"] for row in episodes) / wrong
    if right := sum(row["correct"] for row in episodes):
        found["calls_per_right"] = sum(row["calls"] for row in episodes) / right
    return found


def curve_sheet(rows: Sequence[Row], arms: Sequence[str], split: str, decoding: str = "greedy") -> Sheet:
    """Accuracy in percent by training steps: the mean over seeds, a column an arm."""
    found = curve_points(rows, split, decoding)
    shown = [arm for arm in arms if arm in found]
    steps = sorted({step for arm in shown for step in found[arm]})
    lines = [(str(step), *(_percent(_mean(found[arm].get(step, []))) for arm in shown)) for step in steps]
    return Sheet("", ("steps", *shown), tuple(lines))


def curve_points(rows: Sequence[Row], split: str, decoding: str = "greedy") -> dict[str, dict[int, list[float]]]:
    """The accuracy of each seed: by arm, by training steps."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if (row["split"], row["decoding"]) == (split, decoding):
            found[row["arm"]][row["step"]].append(row["right"] / row["episodes"])
    return found


def training_sheet(rows: Sequence[Row], arms: Sequence[str], block: int = 10) -> Sheet:
    """Accuracy of the rollouts that were trained on, in percent: means over seeds and blocks of steps."""
    found = training_blocks(rows, block)
    shown = [arm for arm in arms if arm in found]
    places = sorted({place for arm in shown for place in found[arm]})
    lines = [
        (
            f"{place * block + 1} to {(place + 1) * block}",
            *(_percent(_mean(found[arm].get(place, []))) for arm in shown),
        )
        for place in places
    ]
    return Sheet("", ("steps", *shown), tuple(lines))


def training_blocks(rows: Sequence[Row], block: int) -> dict[str, dict[int, list[float]]]:
    """The mean accuracy of each seed's rollouts: by arm, by blocks of so many steps."""
    steps: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for row in rows:
        steps[row["arm"], (row["step"] - 1) // block, row["seed"]].append(row["accuracy"])
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (arm, place, _), values in steps.items():
        found[arm][place].append(math.fsum(values) / len(values))
    return found


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def numbers(sheet: Sheet) -> Iterator[Mapping[str, Any]]:
    """The rows of a table by their heads."""
    for row in sheet.rows:
        yield dict(zip(sheet.heads, row, strict=True))
