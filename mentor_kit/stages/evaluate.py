"""Evaluation: the student plays problems of a split, once greedily and once as it samples, and is compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mentor_kit.record import Json, Record
from mentor_kit.reward import Scored
from mentor_kit.rollout import Sampling
from mentor_kit.slot import EvaluationSlot, Slot
from mentor_kit.stage import StageContext
from mentor_kit.stages.experiment import Experiment, demonstrate
from mentor_kit.stages.measures import reward_measures, trajectory_measures
from mentor_kit.statistics import mean_interval, wilson
from mentor_kit.task import IN_DOMAIN, OUT_OF_DOMAIN, Problem
from mentor_kit.trajectory import Trajectory

#: Evaluation problems are the same in every run: tasks ignore or get this seed.
PROBLEM_SEED = 0


class SplitPlan(Record):
    """One split to evaluate on."""

    split: str
    """A split of the task."""
    problems: int = Field(default=100, gt=0)
    """How many of its problems."""
    samples: int = Field(default=1, ge=0)
    """Sampled episodes per problem, beside the greedy one; 0 for greedy alone."""


class EvaluationPlan(Record):
    """When to evaluate during training stages, and on what."""

    every: int = Field(default=0, ge=0)
    """Evaluate after every so many steps; 0 for never in between."""
    at_start: bool = True
    """Evaluate before the first step of the first training stage."""
    at_end: bool = True
    """Evaluate after the last step of each training stage."""
    on: tuple[SplitPlan | EvaluationSlot, ...] = ()
    """Splits of the task, and evaluations of plugins as `{use: name, with: {…}}`."""

    def due(self, step: int, steps: int) -> bool:
        """Whether to evaluate after `step` of `steps`."""
        if step == steps:
            return self.at_end
        return self.every > 0 and step % self.every == 0


class EvaluateOptions(BaseModel):
    """Evaluate the student as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on: tuple[SplitPlan | EvaluationSlot, ...] = ()
    """As the recipe's `evaluate.on`; those of the recipe's `evaluate`, or else both evaluation splits, if left out."""


@dataclass(frozen=True)
class EvaluateStage:
    """The stage `evaluate`."""

    options: EvaluateOptions

    def run(self, experiment: Experiment, context: StageContext) -> None:
        if context.resumed() is not None:
            return
        both = (SplitPlan(split=IN_DOMAIN), SplitPlan(split=OUT_OF_DOMAIN))
        evaluate(experiment, context, 0, self.options.on or experiment.evaluation.on or both)
        context.checkpoint(0, {"step": 0})


def evaluate(
    experiment: Experiment, context: StageContext, step: int, on: Sequence[SplitPlan | Slot]
) -> dict[str, dict[str, Json]]:
    """Play and report every split and every plugin's evaluation; reports by name, as written to the run folder."""
    reports = {}
    for plan in on:
        if isinstance(plan, SplitPlan):
            report, scored = evaluate_split(experiment, context, plan)
        else:
            report, scored = experiment.evaluation_of(plan).evaluate(experiment, context)
        report = {"step": step, "stage": context.key, **report}
        name = str(report["split"])
        context.write_evaluation(f"{context.key}-{step:06d}-{name}", report, scored)
        context.emit("evaluation", **{key: value for key, value in report.items() if key != "outcomes"})
        reports[name] = report
    return reports


def evaluate_split(
    experiment: Experiment, context: StageContext, plan: SplitPlan
) -> tuple[dict[str, Json], list[Scored]]:
    """A split's report, and everything that was played for it, greedy episodes first.

    The sampled episodes use the same random numbers at every step, so that steps are compared with less noise.
    """
    problems = experiment.problems(plan.split, PROBLEM_SEED, plan.problems)
    if experiment.teacher is not None:
        demonstrate(experiment, context, problems)
    greedy = experiment.play_student(problems, 1, Sampling(temperature=0), "evaluate", plan.split)
    sampled = (
        experiment.play_student(problems, plan.samples, experiment.sampling, "evaluate", plan.split)
        if plan.samples
        else []
    )
    report: dict[str, Json] = {"split": plan.split, "problems": len(problems), "greedy": _accuracy(greedy)}
    if sampled:
        report["sampled"] = _accuracy(sampled) | {"samples": plan.samples}
    measures = trajectory_measures(greedy, experiment.demonstrations)
    report |= {name: value for name, value in measures.items() if name != "accuracy"}
    if sampled:
        sampled_measures = trajectory_measures(sampled, experiment.demonstrations)
        report |= {
            f"{name}_sampled": sampled_measures[name]
            for name in ("similarity", "ended_rate")
            if name in sampled_measures
        }
    scored = experiment.measure([*greedy, *sampled], problems)
    report |= {name: value for name, value in reward_measures(scored[: len(greedy)]).items() if name == "reward"}
    report["groups"] = _by_group(problems, greedy, sampled)
    report["outcomes"] = _outcomes(greedy, sampled)
    return report, scored


def flat(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Evaluation reports as flat metrics, such as `out-of-domain/greedy`, for choosing the best checkpoint."""
    found = {}
    for split, report in reports.items():
        found[f"{split}/greedy"] = float(report["greedy"]["accuracy"])
        if "sampled" in report:
            found[f"{split}/sampled"] = float(report["sampled"]["accuracy"])
        if "similarity" in report:
            found[f"{split}/similarity"] = float(report["similarity"])
    return found


def _accuracy(trajectories: Sequence[Trajectory]) -> dict[str, Json]:
    """Accuracy with its 95 % interval; over problems' means where problems were played several times."""
    means = list(_means(trajectories).values())
    correct = sum(trajectory.correct for trajectory in trajectories)
    once = len(means) == len(trajectories)
    low, high = wilson(correct, len(trajectories)) if once else mean_interval(means)
    return {"accuracy": correct / max(len(trajectories), 1), "low": low, "high": high, "correct": correct}


def _means(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    outcomes: dict[str, list[bool]] = defaultdict(list)
    for trajectory in trajectories:
        outcomes[trajectory.problem_id].append(trajectory.correct)
    return {problem: sum(found) / len(found) for problem, found in outcomes.items()}


def _outcomes(greedy: Sequence[Trajectory], sampled: Sequence[Trajectory]) -> dict[str, Json]:
    """For every problem: whether the greedy episode was right, and the mean of the sampled ones if there are any."""
    means = _means(sampled)
    return {
        t.problem_id: [int(t.correct), means[t.problem_id]] if t.problem_id in means else [int(t.correct)]
        for t in greedy
    }


def _by_group(
    problems: Sequence[Problem], greedy: Sequence[Trajectory], sampled: Sequence[Trajectory]
) -> dict[str, Json]:
    """Accuracy by the problems' own groups, where the split has more than one."""
    groups = {problem.id: problem.group for problem in problems}
    names = sorted(set(groups.values()))
    if len(names) < 2:
        return {}
    found: dict[str, Json] = {}
    for name in names:
        found[name] = {
            kind: _accuracy([t for t in played if groups[t.problem_id] == name])
            for kind, played in (("greedy", greedy), ("sampled", sampled))
            if played
        }
    return found
