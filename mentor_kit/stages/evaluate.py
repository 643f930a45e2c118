"""Evaluation: an agent plays problems of a split, once greedily and as often as asked with sampling."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from mentor_kit.core.component import ComponentSpec, EvaluationSpec, TeacherSpec
from mentor_kit.core.frozen_model import FrozenModel, Json
from mentor_kit.core.task import IN_DOMAIN, OUT_OF_DOMAIN, Problem
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rl.reward import Scored
from mentor_kit.rollout import Sampling, run_async
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.eval_metrics import EvaluationEpisodes, accuracy, means_by_problem, pass_at, powers_of_two, rows
from mentor_kit.stages.experiment import Checks, Experiment, demonstrate
from mentor_kit.stages.metrics import reward_measures, tool_use, trajectory_measures
from mentor_kit.stages.workload import Workload

#: So many problems are played side by side; by others than the student, between two words on how far they are.
AT_ONCE, AGENT_AT_ONCE = 512, 64


class SplitPlan(FrozenModel):
    """One split to evaluate on."""

    split: str
    """A split of the task."""
    problems: int = Field(default=100, gt=0)
    """How many of its problems."""
    samples: int = Field(default=1, ge=0)
    """Sampled episodes per problem, beside the greedy one; 0 for greedy alone."""
    pass_at: tuple[int, ...] = ()
    """The k of pass@k, none above `samples`; powers of two up to `samples`, and `samples`, if left out."""
    clusters: Literal["problem", "group"] = "problem"
    """What is independent of each other: problems, or their groups, where problems of a group hang together."""

    @field_validator("pass_at")
    @classmethod
    def _enough_samples(cls, ks: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        samples = info.data.get("samples", 0)
        if any(not 1 <= k <= samples for k in ks):
            raise ValueError(f"{', '.join(map(str, ks))} must be between 1 and the number of `samples`, {samples}")
        return ks


class EvaluationPlan(FrozenModel):
    """When to evaluate during training stages, and on what."""

    every: int = Field(default=0, ge=0)
    """Evaluate after every so many steps; 0 for never in between."""
    at_start: bool = True
    """Evaluate before the first step of the first training stage."""
    at_end: bool = True
    """Evaluate after the last step of each training stage."""
    on: tuple[SplitPlan | EvaluationSpec, ...] = ()
    """Splits of the task, and evaluations of plugins as `{use: name, with: {…}}`."""
    agent: TeacherSpec | None = None
    """Who plays in the stage `evaluate` in place of the student, such as a model behind a server: a teacher."""

    @property
    def sequences(self) -> int:
        """Sequences that the student generates at once at the most; evaluations of plugins are not counted."""
        return at_once(self.on)

    def due(self, step: int, steps: int) -> bool:
        """Whether to evaluate after `step` of `steps`."""
        if step == steps:
            return self.at_end
        return self.every > 0 and step % self.every == 0


class EvaluateOptions(BaseModel):
    """Evaluate the student as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on: tuple[SplitPlan | EvaluationSpec, ...] = ()
    """As the recipe's `evaluate.on`; those of the recipe's `evaluate`, or else both evaluation splits, if left out."""


#: What is evaluated where nothing is said.
BOTH = (SplitPlan(split=IN_DOMAIN), SplitPlan(split=OUT_OF_DOMAIN))


@dataclass(frozen=True)
class EvaluateStage:
    """The stage `evaluate`."""

    options: EvaluateOptions

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        """The student plays, or whoever the recipe puts in its place."""
        on, student = self._on(evaluation), evaluation.agent is None
        splits = [plan for plan in on if isinstance(plan, SplitPlan)]
        return Workload(
            steps=1,
            problems=sum(plan.problems for plan in splits),
            episodes=sum(plan.problems * (1 + plan.samples) for plan in splits) if student else 0,
            sequences=at_once(on) if student else 0,
            student=student,
            trains=False,
            scores=False,
        )

    def check(self, experiment: Experiment) -> None:
        """Refuse what could not be evaluated, or played, before the run's first step."""
        check_evaluations(experiment.with_agent(), self._on(experiment.evaluation))

    def run(self, experiment: Experiment, context: StageContext) -> None:
        if context.resumed() is not None:
            return
        evaluate(experiment.with_agent(), context, 0, self._on(experiment.evaluation))
        if not context.is_first:
            # what was trained before is kept; where nothing was, there is nothing to keep
            context.checkpoint(0, {"step": 0})

    def _on(self, evaluation: EvaluationPlan) -> Sequence[SplitPlan | ComponentSpec]:
        return self.options.on or evaluation.on or BOTH


def at_once(on: Sequence[SplitPlan | ComponentSpec]) -> int:
    """Sequences that the student generates at once at the most when it is evaluated on these."""
    splits = (plan for plan in on if isinstance(plan, SplitPlan))
    return max((min(plan.problems, AT_ONCE) * max(plan.samples, 1) for plan in splits), default=0)


class Findings(NamedTuple):
    """What an evaluation has found."""

    report: dict[str, Json]
    scored: list[Scored]
    """Every trajectory with its reward, greedy ones first."""
    rows: Sequence[Mapping[str, Json]] = ()
    """The same, flat."""


def plan_names(on: Sequence[SplitPlan | ComponentSpec]) -> list[str]:
    """What each evaluation is called in files, metrics and tables.

    A split's evaluation has the split's name. Where several are of one split, all but the first have a number behind
    it: `in-domain`, `in-domain-2`. Those of plugins are named by their reports; here theirs are empty.
    """
    taken = {plan.split for plan in on if isinstance(plan, SplitPlan)}
    seen: set[str] = set()
    names = []
    for plan in on:
        name = plan.split if isinstance(plan, SplitPlan) else ""
        if name in seen:
            name = another_name(name, taken)
        seen.add(name)
        taken.add(name)
        names.append(name if isinstance(plan, SplitPlan) else "")
    return names


def another_name(name: str, taken: Collection[str]) -> str:
    """The name with the first number from 2 behind it that makes it a new one."""
    return next(new for number in itertools.count(2) if (new := f"{name}-{number}") not in taken)


def file_name(name: str) -> str:
    """The name as a part of a file's, on every system; two names may become one."""
    return re.sub(r"[^\w .+@=-]", "-", name)[:100]


def check_evaluations(experiment: Experiment, on: Sequence[SplitPlan | ComponentSpec]) -> None:
    """Refuse evaluations that could not be made, before the run's first step.

    Raises:
        UsageError: the task has no such split.
        MentorKitError: a plugin's evaluation cannot be built, or says that it cannot work with this experiment.
    """
    for plan in on:
        if isinstance(plan, SplitPlan):
            experiment.check_split(plan.split)
        elif isinstance(evaluation := experiment.evaluation_of(plan), Checks):
            evaluation.check(experiment)


def evaluate(
    experiment: Experiment, context: StageContext, step: int, on: Sequence[SplitPlan | ComponentSpec]
) -> dict[str, dict[str, Json]]:
    """Play and report every split and every plugin's evaluation; reports by name, as written to the run folder."""
    reports: dict[str, dict[str, Json]] = {}
    names, meter = plan_names(on), EpisodeProgress(context, sum(_episodes_of(experiment, plan) for plan in on))
    taken, files = set(names), set[str]()
    for plan, name in zip(on, names, strict=True):
        if isinstance(plan, SplitPlan):
            found = evaluate_split(experiment, context, plan, meter)
        else:
            found = Findings(*experiment.evaluation_of(plan).evaluate(experiment, context))
            name = str(found.report["split"])
            name = another_name(name, taken) if name in taken else name
            taken.add(name)
        about = {
            "step": step,
            "stage": context.key,
            "plan": name,
            "who": experiment.subject.model_dump(exclude_none=True),
        }
        report = {**about, **found.report}
        file = file_name(name)
        file = another_name(file, files) if file in files else file
        files.add(file)
        context.write_evaluation(f"{context.key}-{step:06d}-{file}", report, found.scored, found.rows)
        context.emit("evaluation", **{key: value for key, value in report.items() if key != "outcomes"})
        reports[name] = report
    return reports


def evaluate_split(
    experiment: Experiment, context: StageContext, plan: SplitPlan, meter: EpisodeProgress | None = None
) -> Findings:
    """A split's report, and everything that was played for it, greedy episodes first.

    The sampled episodes use the same random numbers at every step, so that steps are compared with less noise.
    """
    problems = experiment.evaluation_problems(plan.split, plan.problems)
    if experiment.teacher is not None:
        demonstrate(experiment, context, problems)
    played = _play(experiment, plan, problems, meter)
    return findings(experiment, plan, problems, played)


def findings(
    experiment: Experiment, plan: SplitPlan, problems: Sequence[Problem], played: EvaluationEpisodes
) -> Findings:
    """The report on episodes of a split, their rewards, and a row for each."""
    clusters = {problem.id: problem.group if plan.clusters == "group" else problem.id for problem in problems}
    report: dict[str, Json] = {"split": plan.split, "agent": experiment.plays, "problems": len(problems)}
    if experiment.player is None:
        report["greedy"] = accuracy(played.greedy, clusters)
    if played.sampled:
        report["sampled"] = accuracy(played.sampled, clusters) | {"samples": plan.samples}
        report["pass_at"] = pass_at(played.sampled, plan.pass_at or powers_of_two(plan.samples), clusters)
    measures = trajectory_measures(played.main, experiment.demonstrations)
    report |= {name: value for name, value in measures.items() if name != "accuracy"}
    report |= tool_use(played.main, experiment.demonstrations)
    if played.greedy and played.sampled:
        sampled = trajectory_measures(played.sampled, experiment.demonstrations)
        report |= {f"{name}_sampled": sampled[name] for name in ("similarity", "ended_rate") if name in sampled}
    scored = experiment.measure(played.all, problems)
    rewarded = [problem.id for problem in problems if experiment.is_rewarded(problem.id)]
    if main := [item for item in scored[: len(played.main)] if item.trajectory.problem_id in set(rewarded)]:
        report |= {"reward": reward_measures(main)["reward"], "reward_problems": len(rewarded)}
    if experiment.player is not None and (account := experiment.player.account()):
        report["account"] = account
    report["groups"] = _by_group(problems, played, clusters)
    report["outcomes"] = means_by_problem(played)
    return Findings(report, scored, rows(played, scored, problems, experiment.demonstrations, rewarded))


def _play(
    experiment: Experiment, plan: SplitPlan, problems: Sequence[Problem], meter: EpisodeProgress | None
) -> EvaluationEpisodes:
    """The episodes of a split, some hundred problems at a time."""
    ended = None if meter is None else meter.ended
    greedy: list[Trajectory] = []
    sampled: list[Trajectory] = []
    at_once = AT_ONCE if experiment.player is None else AGENT_AT_ONCE
    for start in range(0, len(problems), at_once):
        batch = problems[start : start + at_once]
        if experiment.player is not None:
            played = run_async(experiment.player.rollouts(batch, max(plan.samples, 1)))
            sampled += played
            if ended is not None:
                for _ in played:
                    ended()
            continue
        greedy += experiment.play_student(batch, 1, Sampling(temperature=0), "evaluate", plan.split, ended=ended)
        if plan.samples:
            sampled += experiment.play_student(
                batch, plan.samples, experiment.sampling, "evaluate", plan.split, ended=ended
            )
    return EvaluationEpisodes(greedy, sampled)


def _episodes_of(experiment: Experiment, plan: SplitPlan | ComponentSpec) -> int:
    """How many episodes are played for a plan; of a plugin's evaluation that is not known."""
    if not isinstance(plan, SplitPlan):
        return 0
    each = 1 + plan.samples if experiment.player is None else max(plan.samples, 1)
    return each * len(experiment.evaluation_problems(plan.split, plan.problems))


@dataclass
class EpisodeProgress:
    """Tells the user how many of an evaluation's episodes are over, from the first word that it has begun."""

    context: StageContext
    total: int
    done: int = 0

    def __post_init__(self) -> None:
        if self.total:
            self._tell()

    def ended(self) -> None:
        """One more is over."""
        self.done += 1
        self._tell()

    def _tell(self) -> None:
        self.context.progress(self.done, self.total, episodes=self.done)


def flat(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Evaluation reports as flat metrics, such as `out-of-domain/greedy`, for choosing the best checkpoint."""
    found = {}
    for name, report in reports.items():
        if "greedy" in report:
            found[f"{name}/greedy"] = float(report["greedy"]["accuracy"])
        if "sampled" in report:
            found[f"{name}/sampled"] = float(report["sampled"]["accuracy"])
        if "similarity" in report:
            found[f"{name}/similarity"] = float(report["similarity"])
    return found


def _by_group(problems: Sequence[Problem], played: EvaluationEpisodes, clusters: Mapping[str, str]) -> dict[str, Json]:
    """Accuracy by the problems' own groups, where the split has more than one."""
    groups = {problem.id: problem.group for problem in problems}
    names = sorted(set(groups.values()))
    if len(names) < 2:
        return {}
    # inside a group that is a cluster, problems are what is left to count
    inside = clusters if len(set(clusters.values())) > len(names) else {name: name for name in clusters}
    found: dict[str, Json] = {}
    for name in names:
        found[name] = {
            kind: accuracy([t for t in episodes if groups[t.problem_id] == name], inside)
            for kind, episodes in (("greedy", played.greedy), ("sampled", played.sampled))
            if episodes
        }
    return found
