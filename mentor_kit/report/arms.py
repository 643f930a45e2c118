"""Runs by arm: several runs of one recipe with different seeds are one arm of a comparison."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mentor_kit.errors import UsageError
from mentor_kit.record import Json
from mentor_kit.runs import Run, RunFolder
from mentor_kit.runs.run import natural

RunLike: TypeAlias = Run | str | Path
Report: TypeAlias = dict[str, Json]

_SEED = re.compile(r"[-_. ]?seed[-_=]?\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class Played:
    """A run with what a comparison needs of it, read once."""

    run: Run
    seed: int
    reports: tuple[Report, ...]
    """Evaluations in order; each with `at`, the number of training steps before it over all stages."""

    def last(self, split: str) -> Report | None:
        """The last evaluation on a split."""
        return next((report for report in reversed(self.reports) if report["split"] == split), None)


@dataclass(frozen=True)
class Arm:
    """One way of training, run with one or more seeds."""

    name: str
    """The recipe's name without a seed."""
    label: str
    """The name without what all arms' names start with."""
    played: tuple[Played, ...]
    """One a seed, in order of seeds."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(played.seed for played in self.played)


def collect_arms(runs: Sequence[RunLike], root: Path) -> tuple[list[Arm], list[str]]:
    """The arms in the order in which they were named, and notes on runs left out or not like the others.

    Raises:
        UsageError: no run was named, or none has an evaluation.
        UsageError: something named is not a run.
    """
    notes: list[str] = []
    by_arm: dict[str, dict[int, Played]] = {}
    for run in _expanded(runs, root):
        played = Played(run, run.seed, tuple(placed_reports(run)))
        if not played.reports:
            notes.append(f"{run.path} is left out: it has no evaluation")
            continue
        if (outcome := run.outcome) != "done":
            notes.append(f"{run.path} is not finished ({outcome}); its last evaluation so far counts")
        seeds = by_arm.setdefault(_SEED.sub("", run.name) or run.name, {})
        if played.seed in seeds:
            notes.append(f"{seeds[played.seed].run.path} is left out: {run.path} is newer, with the same seed")
        seeds[played.seed] = played
    if not by_arm:
        raise UsageError("there is nothing to compare: no run with an evaluation", hint="\n".join(notes) or None)
    prefix = _common_prefix(list(by_arm))
    arms = [
        Arm(name, name.removeprefix(prefix), tuple(seeds[seed] for seed in sorted(seeds)))
        for name, seeds in by_arm.items()
    ]
    return arms, notes + _differences(arms)


def _expanded(runs: Sequence[RunLike], root: Path) -> list[Run]:
    """The runs that are meant, oldest first within each thing named: a run, a recipe's runs, or all below a folder."""
    found: list[Run] = []
    for named in runs:
        if isinstance(named, Run):
            found.append(named)
            continue
        place = next((path for path in (Path(named), root / named) if path.is_dir()), Path(named))
        if (place / "recipe.yaml").is_file():
            found.append(Run(RunFolder(place)))
        elif below := sorted({recipe.parent.parent for recipe in place.rglob("recipe.yaml")}):
            found += [Run(folder) for runs_of in below for folder in RunFolder.all(runs_of.parent, runs_of.name)]
        else:
            found.append(Run(RunFolder.find(named, root)))
    return list({run.path.resolve(): run for run in found}.values())


def placed_reports(run: Run) -> list[Report]:
    """The evaluations of a run, each with `at`: the number of training steps before it, over all stages."""
    starts = _starts(run)
    return [report | {"at": starts[_stage(report)] + int(report["step"])} for report in run.evaluations]


def placed_steps(run: Run) -> list[dict[str, Json]]:
    """The logged steps of a run, each with `at`: its number, counted over all stages."""
    starts = _starts(run)
    return [step | {"at": starts[_stage(step)] + int(step["step"])} for step in run.steps]


def training_steps(run: Run, stage: str | None = None, step: int = 0) -> int:
    """How many training steps a run has taken over all stages; until a step of a stage, where one is named."""
    starts = _starts(run)
    if stage is not None:
        return starts.get(stage, 0) + step
    return max((int(found["at"]) for found in [*placed_steps(run), *placed_reports(run)]), default=0)


def _starts(run: Run) -> dict[str, int]:
    """How many steps came before each stage."""
    lengths: dict[str, int] = {}
    for record in [*run.steps, *run.evaluations]:
        stage = _stage(record)
        lengths[stage] = max(lengths.get(stage, 0), int(record["step"]))
    # stages' keys start with their position
    ordered = sorted(lengths, key=natural)
    return {stage: sum(lengths[before] for before in ordered[:place]) for place, stage in enumerate(ordered)}


def _stage(record: dict[str, Json]) -> str:
    return str(record.get("stage", ""))


def _differences(arms: Sequence[Arm]) -> list[str]:
    """What makes arms hard to compare."""
    notes = []
    for split in splits_of(arms):
        last = [report for arm in arms for played in arm.played if (report := played.last(split)) is not None]
        if len(counts := {int(report["problems"]) for report in last}) > 1:
            notes.append(f"{split}: runs were evaluated on different numbers of problems: {sorted(counts)}")
    if len({arm.seeds for arm in arms}) > 1:
        listed = "; ".join(f"{arm.label}: {', '.join(map(str, arm.seeds))}" for arm in arms)
        notes.append(f"arms have different seeds ({listed})")
    for arm in arms:
        ends = {played.reports[-1]["at"] for played in arm.played}
        if len(ends) > 1:
            notes.append(f"{arm.label}: seeds were trained for different numbers of steps: {sorted(ends)}")
    return notes


def splits_of(arms: Sequence[Arm]) -> list[str]:
    """All splits that were evaluated, in the order of their first evaluation."""
    reports = [report for arm in arms for played in arm.played for report in played.reports]
    return list(dict.fromkeys(str(report["split"]) for report in reports))


def _common_prefix(names: Sequence[str]) -> str:
    """The words, up to hyphens, that all names start with; at least one word is left of each."""
    if len(names) < 2:
        return ""
    prefix = ""
    for words in zip(*(name.split("-")[:-1] for name in names), strict=False):
        if len(set(words)) > 1:
            break
        prefix += f"{words[0]}-"
    return prefix
