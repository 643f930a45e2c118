"""Runs by arm: several runs of one recipe with different seeds are one arm of a comparison."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mentor_kit.core.errors import UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.runs import Run, RunFolder
from mentor_kit.runs.run import natural
from mentor_kit.stages.evaluated_agent import EvaluatedAgent

RunLike: TypeAlias = Run | str | Path
Report: TypeAlias = dict[str, Json]

_SEED = re.compile(r"[-_. ]?seed[-_=]?\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class ArmRun:
    """The evaluations of one agent in a run, read once."""

    run: Run
    seed: int
    """The seed of the run that trained the student, where one did; else that of the run."""
    reports: tuple[Report, ...]
    """Evaluations in order; each with `at`, the number of training steps before it over all stages."""

    def last(self, plan: str) -> Report | None:
        """The last evaluation of a name."""
        return next((report for report in reversed(self.reports) if plan_of(report) == plan), None)


@dataclass(frozen=True)
class Arm:
    """One way of training, run with one or more seeds; or an agent that was evaluated in a student's place."""

    name: str
    """The recipe's name without a seed; after a colon the agent, where that is not the recipe's own student."""
    label: str
    """The name without the prefix that all recipes' names share."""
    runs: tuple[ArmRun, ...]
    """One a seed, in order of seeds."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(run.seed for run in self.runs)


def collect_arms(runs: Sequence[RunLike], root: Path) -> tuple[list[Arm], list[str]]:
    """The arms in the order in which they were named, and notes on runs left out or not like the others.

    An arm is one recipe's name and one agent: runs that train and evaluations of other agents are different arms.

    Raises:
        UsageError: no run was named, none of that name is there, or none has an evaluation.
    """
    notes: list[str] = []
    by_arm: dict[tuple[str, str], dict[int, ArmRun]] = {}
    for run in _expanded(runs, root):
        found = _by_subject(run)
        if not found:
            notes.append(f"{run.path} is left out: it has no evaluation")
            continue
        if (outcome := run.outcome) != "done":
            notes.append(f"{run.path} is not finished ({outcome}); its last evaluation so far counts")
        for agent, evaluated in found.items():
            seeds = by_arm.setdefault((_without_seed(run.name), agent), {})
            if (other := seeds.get(evaluated.seed)) is not None:
                older, evaluated = sorted((other, evaluated), key=lambda each: each.run.folder.age)
                notes.append(f"{older.run.path} is left out: {evaluated.run.path} is newer, with the same seed")
            seeds[evaluated.seed] = evaluated
    if not by_arm:
        raise UsageError("there is nothing to compare: no run with an evaluation", hint="\n".join(notes) or None)
    prefix = _common_prefix(list(dict.fromkeys(name for name, _ in by_arm)))
    arms = []
    for (name, agent), seeds in by_arm.items():
        alone = sum(other == name for other, _ in by_arm) == 1
        suffix = "" if alone and agent.startswith(AS_IT_IS) else f": {agent.removeprefix(AS_IT_IS)}" if agent else ""
        in_order = tuple(seeds[seed] for seed in sorted(seeds))
        arms.append(Arm(name + suffix, name.removeprefix(prefix) + suffix, in_order))
    return arms, notes + _differences(arms)


#: The prefix of a model that is evaluated untrained; an arm that is alone in its recipe is named without it.
AS_IT_IS = "untrained "


def _by_subject(run: Run) -> dict[str, ArmRun]:
    """The evaluations of a run by agent: "" for the student that it trains itself."""
    found: dict[str, list[Report]] = {}
    seeds: dict[str, int] = {}
    for report in placed_reports(run):
        subject = subject_of(run, report)
        agent = _label(subject, _without_seed(run.name))
        found.setdefault(agent, []).append(report)
        seeds[agent] = run.seed if subject.seed is None else subject.seed
    return {agent: ArmRun(run, seeds[agent], tuple(reports)) for agent, reports in found.items()}


def _label(subject: EvaluatedAgent, recipe: str) -> str:
    """The agent's part of an arm's name."""
    if subject.kind == "run":
        return ""
    if subject.kind == "model":
        return f"{AS_IT_IS}{subject.name}"
    if subject.kind == "agent":
        return subject.name
    trained = _without_seed(subject.name)
    return f"step {subject.steps}" if trained == recipe else f"{trained}, step {subject.steps}"


def subject_of(run: Run, report: Report) -> EvaluatedAgent:
    """The agent of an evaluation; a guess where the report names none."""
    # older reports have the description under `who`, or only the agent's name under `agent`
    agent = report.get("who", report.get("agent", "student"))
    if isinstance(agent, dict):
        return EvaluatedAgent.model_validate(agent)
    if agent != "student":
        return EvaluatedAgent(kind="agent", name=str(agent))
    return EvaluatedAgent(kind="run" if run.trains else "model", name=run.name if run.trains else "student")


def own_reports(run: Run, reports: Sequence[Report]) -> list[Report]:
    """The evaluations of a run's student; where there are none, those of the agent that was evaluated last."""
    keys = [(subject.kind, subject.name) for subject in (subject_of(run, report) for report in reports)]
    wanted = next((key for key in keys if key[0] != "agent"), keys[-1] if keys else None)
    return [report for report, key in zip(reports, keys, strict=True) if key == wanted]


def _without_seed(name: str) -> str:
    return _SEED.sub("", name) or name


def plan_of(report: Mapping[str, Json]) -> str:
    """An evaluation's name: its split, with a number where several are of one split."""
    return str(report.get("plan") or report["split"])


def _expanded(runs: Sequence[RunLike], root: Path) -> list[Run]:
    """The runs that the caller named, oldest first in each: a run, a recipe's runs, or all below a folder."""
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
    found = []
    for report in run.evaluations:
        # the student of another run has been trained for that run's steps
        before = subject_of(run, report).steps or 0
        found.append(report | {"at": before + starts[_stage(report)] + int(report["step"])})
    return found


def placed_steps(run: Run) -> list[dict[str, Json]]:
    """The logged steps of a run, each with `at`: its number, counted over all stages."""
    starts = _starts(run)
    return [step | {"at": starts[_stage(step)] + int(step["step"])} for step in run.steps]


def training_steps(run: Run, stage: str | None = None, step: int = 0) -> int:
    """The number of a run's training steps over all stages, or up to a step of a stage."""
    starts = _starts(run)
    if stage is not None:
        return starts.get(stage, 0) + step
    return max((int(found["at"]) for found in [*placed_steps(run), *placed_reports(run)]), default=0)


def _starts(run: Run) -> dict[str, int]:
    """The number of steps before each stage."""
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
    """Notes on differences that make arms hard to compare."""
    notes = []
    for split in splits_of(arms):
        last = [report for arm in arms for run in arm.runs if (report := run.last(split)) is not None]
        if len(counts := {int(report["problems"]) for report in last}) > 1:
            notes.append(f"{split}: runs were evaluated on different numbers of problems: {sorted(counts)}")
        rewarded = {int(report.get("reward_problems") or report["problems"]) for report in last if "reward" in report}
        if rewarded and rewarded != counts:
            listed = ", ".join(map(str, sorted(rewarded)))
            notes.append(f"{split}: reward is over {listed} problems, those with a correct demonstration")
    if len({arm.seeds for arm in arms}) > 1:
        listed = "; ".join(f"{arm.label}: {', '.join(map(str, arm.seeds))}" for arm in arms)
        notes.append(f"arms have different seeds ({listed})")
    for arm in arms:
        ends = {run.reports[-1]["at"] for run in arm.runs}
        if len(ends) > 1:
            notes.append(f"{arm.label}: seeds were trained for different numbers of steps: {sorted(ends)}")
    return notes


def splits_of(arms: Sequence[Arm]) -> list[str]:
    """The names of all evaluations, in the order in which they were first made."""
    reports = [report for arm in arms for run in arm.runs for report in run.reports]
    return list(dict.fromkeys(map(plan_of, reports)))


def _common_prefix(names: Sequence[str]) -> str:
    """The words, up to hyphens, that all names start with; at least one word of each name remains."""
    if len(names) < 2:
        return ""
    prefix = ""
    for words in zip(*(name.split("-")[:-1] for name in names), strict=False):
        if len(set(words)) > 1:
            break
        prefix += f"{words[0]}-"
    return prefix
