"""The episodes of an evaluation: greedy and sampled ones of the student, or those of another agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.task import Problem
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rollout import Sampling, run_async
from mentor_kit.stages.evaluation_plan import BATCH, SplitPlan
from mentor_kit.stages.evaluation_progress import EvaluationProgress
from mentor_kit.stages.experiment import Experiment

#: Problems whose episodes an agent other than the student runs side by side; progress is shown after each batch.
AGENT_BATCH = 64


@dataclass(frozen=True)
class EvaluationEpisodes:
    """The episodes of one evaluation."""

    greedy: Sequence[Trajectory]
    """One for each problem; none where the agent has no greedy decoding."""
    sampled: Sequence[Trajectory]
    """Those of a problem are next to each other."""

    @property
    def main(self) -> Sequence[Trajectory]:
        """The episodes that metrics of tool use are of: greedy ones, or else the sampled ones."""
        return self.greedy or self.sampled

    @property
    def all(self) -> list[Trajectory]:
        """All episodes, greedy ones first."""
        return [*self.greedy, *self.sampled]


def collect_episodes(
    experiment: Experiment, plan: SplitPlan, problems: Sequence[Problem], progress: EvaluationProgress
) -> EvaluationEpisodes:
    """Run the episodes of a split with the student, or with the agent in its place."""
    if experiment.agent is None:
        return _student_episodes(experiment, plan, problems, progress)
    return _agent_episodes(experiment.agent, plan, problems, progress)


def count_episodes(experiment: Experiment, plan: SplitPlan | ComponentSpec) -> int:
    """The number of a plan's episodes; 0 for a plugin's evaluation, of which it is not known."""
    if not isinstance(plan, SplitPlan):
        return 0
    each = 1 + plan.samples if experiment.agent is None else max(plan.samples, 1)
    return each * len(experiment.evaluation_problems(plan.split, plan.problems))


def _student_episodes(
    experiment: Experiment, plan: SplitPlan, problems: Sequence[Problem], progress: EvaluationProgress
) -> EvaluationEpisodes:
    """One greedy and `samples` sampled episodes for each problem.

    Sampled ones use the same random numbers at every step, so that steps are compared with less noise.
    """
    greedy: list[Trajectory] = []
    sampled: list[Trajectory] = []
    seed = "evaluate", plan.split
    for start in range(0, len(problems), BATCH):
        batch = problems[start : start + BATCH]
        greedy += experiment.collect_rollouts(batch, 1, Sampling(temperature=0), *seed, ended=progress.ended)
        if plan.samples:
            sampled += experiment.collect_rollouts(
                batch, plan.samples, experiment.sampling, *seed, ended=progress.ended
            )
    return EvaluationEpisodes(greedy, sampled)


def _agent_episodes(
    agent: Teacher, plan: SplitPlan, problems: Sequence[Problem], progress: EvaluationProgress
) -> EvaluationEpisodes:
    """`samples` episodes for each problem, at least one; other agents than the student have no greedy ones."""
    sampled: list[Trajectory] = []
    for start in range(0, len(problems), AGENT_BATCH):
        batch = problems[start : start + AGENT_BATCH]
        found = run_async(agent.rollouts(batch, max(plan.samples, 1)))
        progress.ended(len(found))
        sampled += found
    return EvaluationEpisodes((), sampled)
