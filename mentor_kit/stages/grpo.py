"""GRPO with a teacher's reward: rollouts are scored, compared within the group of their problem, and trained on.

    problems ──student, G rollouts each──> trajectories ──reward, demonstrations──> scores
    scores ──advantages within the group──> token groups ──objective──> new weights

With an objective that distils, a teacher with the student's tokens gives each sampled token an advantage as well: how
much likelier the teacher finds it; alone, or beside the rewards.

(MENTOR, arXiv 2510.18383; GRPO, arXiv 2402.03300; on-policy distillation with step weights, arXiv 2605.07725.)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.reward import Scored
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.distillation import TokenTeacher, distill, token_teacher
from mentor_kit.stages.dynamic_sampling import Batch
from mentor_kit.stages.evaluation_plan import EvaluationPlan
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.filtered_sampling import warn_of_filtered_sampling
from mentor_kit.stages.grpo_metrics import grpo_metrics
from mentor_kit.stages.grpo_options import GRPOOptions
from mentor_kit.stages.minibatches import Update, update_policy, with_old_log_probs, without_old_log_probs
from mentor_kit.stages.overlapped_rollouts import OverlappedRollouts
from mentor_kit.stages.permuted_rewards import permuted
from mentor_kit.stages.problem_stream import ProblemStream
from mentor_kit.stages.recorded_rollouts import RecordedRollouts
from mentor_kit.stages.rollout_source import RolloutSource, StepRollouts
from mentor_kit.stages.schedule import learning_rate
from mentor_kit.stages.stage import Stage
from mentor_kit.stages.stopwatch import Stopwatch
from mentor_kit.stages.token_groups import outcomes, rollout_groups
from mentor_kit.stages.training_loop import begin, evaluation_due, finish_step
from mentor_kit.stages.workload import Workload, teacher_uses


@dataclass(frozen=True)
class GRPOStage(Stage):
    """The stage `grpo`."""

    options: GRPOOptions

    def run(self, experiment: Experiment, context: StageContext) -> None:
        options, objective = self.options, self._objective(experiment)
        needs_reward = options.objective.needs_reward
        warn_of_filtered_sampling(experiment, context)
        done = begin(experiment, context, options.optimizer.spec, reference=objective.spec.needs_reference)
        teacher = token_teacher(experiment, options.teacher) if objective.spec.distills else None
        with self._rollouts(experiment, context) as source:
            for step in range(done + 1, options.steps + 1):
                stopwatch, batch = Stopwatch(), Batch(options.problems, options.group, max_rounds=1 + options.resample)
                while batch.missing:  # one round; more with dynamic sampling
                    problems, trajectories = source.take(batch.missing, step, batch.rounds)
                    batch.add(self._score(experiment, trajectories, problems, step))
                stopwatch.lap("rollout")
                advantages = self._estimate_advantages(experiment, objective, batch.groups(), step)
                context.write_rollouts(step, batch.with_advantages(advantages if needs_reward else None))
                groups = rollout_groups(batch.groups(), advantages, mask_unended=options.mask_unended)
                update = self._update(experiment, objective, teacher, groups, step)
                stopwatch.lap("update")
                metrics = grpo_metrics(experiment, batch, update, stopwatch, source.metrics())
                context.emit("step", step=step, steps=options.steps, **metrics)
                with source.held() if evaluation_due(experiment, step, options.steps) else nullcontext():
                    finish_step(experiment, context, step, options.steps, source.state)

    def _rollouts(self, experiment: Experiment, context: StageContext) -> RolloutSource:
        """Where rollouts come from: each step's own episodes, those recorded before a kill, or a buffer."""
        options, stream = self.options, self._problem_stream(experiment, context)
        if not experiment.staleness:
            sampled = StepRollouts(experiment, stream, context.key, options.group)
            return sampled if experiment.deterministic else RecordedRollouts(sampled, context)
        return OverlappedRollouts(
            experiment, context, stream, steps=options.steps, problems=options.problems, group=options.group
        )

    def _score(
        self, experiment: Experiment, trajectories: Sequence[Trajectory], problems: Sequence[Problem], step: int
    ) -> list[Scored]:
        """Rewards of the trajectories; for reports only where nothing is learned from them."""
        if not self.options.objective.needs_reward:
            return experiment.score_for_report(trajectories, problems)
        return experiment.score(trajectories, problems, progress=self.options.progress(step))

    def _estimate_advantages(
        self, experiment: Experiment, objective: Objective, groups: Sequence[Sequence[Scored]], step: int
    ) -> NDArray[np.float64]:
        """The advantage of every rollout over the others of its group, shape (problems, group)."""
        rewards = np.array([[item.reward.total for item in group] for group in groups], dtype=np.float64)
        if self.options.permute_rewards:
            rewards = permuted(rewards, experiment.seed, step)
        return objective.advantages(outcomes(groups, rewards))

    def _update(
        self,
        experiment: Experiment,
        objective: Objective,
        teacher: TokenTeacher | None,
        groups: Sequence[TokenGroup],
        step: int,
    ) -> Update:
        """Train on the rollouts, once or in minibatches and epochs; a teacher to distil from adds its advantages."""
        options, policy, distillation = self.options, experiment.policy, dict[str, float]()
        if not groups:
            raise DataError(
                f"every prompt of step {step} fills the model's context of {policy.info.context} tokens",
                hint="take shorter problems, fewer tools, or a student with a longer context",
            )
        stale, capped = experiment.staleness > 0, objective.spec.importance_cap is not None
        # without importance weights, the ratio to the weights that sampled a stale token corrects for its staleness
        against_old = capped or (options.minibatches * options.epochs > 1 and not stale)
        if against_old or (stale and teacher is not None):
            groups = with_old_log_probs(policy, groups)
        if teacher is not None:
            groups, distillation = distill(teacher, groups, objective.spec)
        if stale and not against_old:
            groups = without_old_log_probs(groups)
        rate = learning_rate(options.optimizer, step, options.steps)
        return update_policy(policy, groups, objective, rate, options.minibatches, options.epochs, distillation)

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        """A group of rollouts for each problem of a step, all generated at once."""
        options, rollouts = self.options, self.options.problems * self.options.group
        return Workload(
            steps=options.steps,
            problems=options.problems,
            episodes=rollouts,
            sequences=rollouts,
            ahead=True,
            reward=options.objective.needs_reward,
            reference=options.objective.needs_reference,
            teacher=options.objective.distills and options.teacher is None,
            own_teachers=teacher_uses(options.teacher, demonstrates=False),
            optimizer=options.optimizer.spec,
            adjustable=("steps",),
        )

    def check(self, experiment: Experiment) -> None:
        """Check that the teacher can be distilled from, where the objective distils, and that its loss can be stale.

        Raises:
            UsageError: one of them cannot.
        """
        if experiment.staleness:
            self._check_staleness(experiment)
        if self.options.objective.distills:
            token_teacher(experiment, self.options.teacher)

    def _check_staleness(self, experiment: Experiment) -> None:
        objective = self._objective(experiment)
        if not objective.corrects_staleness:
            raise UsageError(
                f"rollout.staleness is {experiment.staleness}, and the loss {objective.spec.loss.use!r} has no ratio "
                "to the weights that sampled a token, so that stale tokens would bias it",
                hint="set `objective.importance_cap`, such as 2, take another objective, or set `rollout.staleness: 0`",
            )

    def _problem_stream(self, experiment: Experiment, context: StageContext) -> ProblemStream:
        """The training problems, from where the last checkpoint left off."""
        return ProblemStream(
            experiment,
            context,
            position=int((context.resumed() or {}).get("position", 0)),
            expected=self.options.steps * self.options.problems,
            demonstrated=self.options.objective.needs_reward,
        )

    def _objective(self, experiment: Experiment) -> Objective:
        """The objective, built; Dr. GRPO's constant is the longest response possible, unless the recipe names one."""
        spec = self.options.objective
        if spec.aggregation == "constant" and spec.constant_length is None:
            spec = spec.model_copy(update={"constant_length": experiment.limits.max_response_tokens})
        return experiment.build_objective(spec)
