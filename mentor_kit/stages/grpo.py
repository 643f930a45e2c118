"""GRPO with a teacher's reward: the student plays, is scored, compared within its group, and updated.

    problems with demonstrations ──play G times each──> trajectories ──reward──> scores
    scores ──advantages within the group──> token groups ──objective──> new weights

With an objective that distils, a teacher with the student's tokens reads the token groups before the update, and says
of each token how much likelier it is to the teacher; alone, or beside the rewards.

(MENTOR, arXiv 2510.18383; GRPO, arXiv 2402.03300; dynamic sampling and overlong masking, arXiv 2503.14476;
on-policy distillation with step weights, arXiv 2605.07725.)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.core.component import TeacherSpec
from mentor_kit.core.errors import DataError
from mentor_kit.rl.advantages.estimator import Outcomes
from mentor_kit.rl.objective import Objective, ObjectiveSpec
from mentor_kit.rl.reward import Scored
from mentor_kit.rl.update_metrics import LossMetrics, StepMetrics, over_updates
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.distillation import TokenTeacher, distilled, token_teacher
from mentor_kit.stages.evaluate import EvaluationPlan
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.metrics import reward_measures, trajectory_measures
from mentor_kit.stages.problem_stream import ProblemStream
from mentor_kit.stages.schedule import OptimizerOptions, learning_rate
from mentor_kit.stages.token_groups import by_problem, parts, token_group, with_old
from mentor_kit.stages.training_loop import begin, finish_step
from mentor_kit.stages.workload import Workload
from mentor_kit.utils.randomness import derive_seed

#: Rewards closer together than this are no spread.
NO_SPREAD = 1e-8


class GRPOOptions(BaseModel):
    """Reinforcement learning on groups of the student's own rollouts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(gt=0)
    """Steps, each of `problems` times `group` rollouts."""
    problems: int = Field(default=16, gt=0)
    """Problems a step."""
    group: int = Field(default=8, gt=0)
    """Rollouts of each problem (the paper's G); at least 2, unless nothing is learned from rewards."""
    objective: ObjectiveSpec = ObjectiveSpec()
    """What an update maximises; `{preset: grpo}` and its like."""
    teacher: TeacherSpec | None = None
    """Where the objective distils: a teacher with the student's tokens, such as `local`; the recipe's if left out.
    Demonstrations are the recipe's teacher's in any case."""
    optimizer: OptimizerOptions
    """The optimizer and its learning rate."""
    minibatches: int = Field(default=1, gt=0)
    """Updates a step: the groups are split into so many parts."""
    epochs: int = Field(default=1, gt=0)
    """How often each step's rollouts are gone through."""
    resample: int = Field(default=0, ge=0)
    """Dynamic sampling: groups without spread are replaced by those of fresh problems, in at most so many rounds."""
    mask_unended: bool = False
    """Overlong masking: trajectories that did not end keep their part in the group's mean, and are not trained on."""
    permute_rewards: bool = False
    """A control: rewards are permuted within each group, so that nothing can be learned from them."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.objective.needs_reward and self.group < 2:
            raise ValueError(f"group is {self.group}: rewards are compared within a group, which takes at least 2")
        if not self.objective.needs_reward and (self.resample or self.permute_rewards):
            name = "resample" if self.resample else "permute_rewards"
            raise ValueError(f"{name} is about rewards, and the objective learns from none (its `reward` is 0)")
        if self.teacher is not None and not self.objective.distills:
            raise ValueError(
                "the stage's teacher is the one to distil from, and the objective does not distil: "
                "set `objective.distill` above 0, or name the teacher at the top of the recipe"
            )
        return self


@dataclass
class Batch:
    """A step's rollouts."""

    groups: list[list[Scored]] = field(default_factory=list)
    played: list[Scored] = field(default_factory=list)
    """All that was played, groups that were replaced included."""
    flat_groups: int = 0
    """Groups without spread among those played."""
    rounds: int = 0


@dataclass(frozen=True)
class Update:
    """What a step's updates saw."""

    losses: list[LossMetrics]
    """One an optimizer step."""
    last: StepMetrics
    """Of the last optimizer step that trained anything."""
    measures: dict[str, float]
    """Of the distillation."""


@dataclass(frozen=True)
class GRPOStage:
    """The stage `grpo`."""

    options: GRPOOptions

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        """A group of episodes is played of each problem at every step, all at once."""
        options, episodes = self.options, self.options.problems * self.options.group
        return Workload(
            steps=options.steps,
            problems=options.problems,
            episodes=episodes,
            sequences=max(episodes, evaluation.sequences),
            scores=options.objective.needs_reward,
            reference=options.objective.needs_reference,
            optimizer=options.optimizer.spec,
            adjustable=("steps",),
        )

    def check(self, experiment: Experiment) -> None:
        """Refuse a teacher that cannot be distilled from, before the run's first step."""
        if self.options.objective.distills:
            token_teacher(experiment, self.options.teacher)

    def run(self, experiment: Experiment, context: StageContext) -> None:
        options = self.options
        objective = experiment.build_objective(
            _with_constant_length(options.objective, experiment.limits.max_response_tokens)
        )
        _warn_of_filtered_sampling(experiment, context)
        done = begin(experiment, context, options.optimizer.spec, reference=objective.spec.needs_reference)
        teacher = token_teacher(experiment, options.teacher) if objective.spec.distills else None
        stream = ProblemStream(
            experiment,
            context,
            position=int((context.resumed() or {}).get("position", 0)),
            expected=options.steps * options.problems,
            shown=objective.spec.needs_reward,
        )
        for step in range(done + 1, options.steps + 1):
            started = time.perf_counter()
            batch = self._play(experiment, context, stream, step)
            played = time.perf_counter()
            context.write_rollouts(step, batch.played)
            update = self._update(experiment, batch, objective, teacher, step)
            ended = time.perf_counter()
            self._report(experiment, context, step, batch, update, (played - started, ended - played))
            finish_step(experiment, context, step, options.steps, {"position": stream.position})

    def _play(self, experiment: Experiment, context: StageContext, stream: ProblemStream, step: int) -> Batch:
        """Groups of scored trajectories; with `resample`, fresh groups in place of those without spread."""
        batch, options = Batch(), self.options
        groups: list[list[Scored]] = []
        while batch.rounds <= options.resample and (wanted := options.problems - len(groups) + batch.flat_groups) > 0:
            problems = stream.take(wanted)
            trajectories = experiment.play_student(
                problems, options.group, experiment.sampling, context.key, step, batch.rounds
            )
            if options.objective.needs_reward:
                scored = experiment.score(trajectories, problems, progress=_progress(step, options.steps))
            else:
                scored = experiment.measure(trajectories, problems)
            batch.played += scored
            batch.rounds += 1
            groups += by_problem(scored, options.group)
            batch.flat_groups = sum(map(_is_flat, groups))
        # what could not be replaced stays in its place, so that minibatches get their share of it
        surplus = len(groups) - options.problems
        for group in reversed(groups):
            if surplus > 0 and _is_flat(group):
                surplus -= 1
            else:
                batch.groups.append(group)
        batch.groups.reverse()
        return batch

    def _update(
        self, experiment: Experiment, batch: Batch, objective: Objective, teacher: TokenTeacher | None, step: int
    ) -> Update:
        """The step's updates on the batch."""
        options, policy = self.options, experiment.policy
        groups = self._token_groups(experiment, batch, objective, step)
        if options.minibatches * options.epochs > 1 or objective.spec.importance_cap is not None:
            groups = with_old(groups, policy.log_probs(groups))
        measures: dict[str, float] = {}
        if teacher is not None:
            groups, measures = distilled(teacher, groups, objective.spec)
        rate = learning_rate(options.optimizer, step, options.steps)
        losses, steps = [], []
        for _ in range(options.epochs):
            for part in parts(groups, options.minibatches):
                losses.append(policy.forward_backward(part, objective))
                steps.append(policy.optimizer_step(rate))
        # a part in which nothing is trained has no gradient to tell of
        last = next((s for s, loss in zip(reversed(steps), reversed(losses), strict=True) if loss.tokens), steps[-1])
        return Update(losses, last, measures)

    def _token_groups(self, experiment: Experiment, batch: Batch, objective: Objective, step: int) -> list[TokenGroup]:
        rewards = np.array([[item.reward.total for item in group] for group in batch.groups], dtype=np.float64)
        if self.options.permute_rewards:
            generator = np.random.default_rng(derive_seed(experiment.seed, "permute", step))
            rewards = generator.permuted(rewards, axis=1)
        estimates = objective.advantages(_outcomes(batch.groups, rewards))
        groups = []
        for group, row in zip(batch.groups, estimates, strict=True):
            traces = [item.trajectory.tokens for item in group if item.trajectory.tokens is not None]
            if not any(trace.sampled for trace in traces):
                continue  # the prompt fills the context: nothing was said, and an update could not take it
            trained = [item.trajectory.ended or not self.options.mask_unended for item in group]
            groups.append(token_group(traces, [float(value) for value in row], trained=trained))
        if not groups:
            raise DataError(
                f"every prompt of step {step} fills the model's context of {experiment.policy.info.context} tokens",
                hint="take shorter problems, fewer tools, or a student with a longer context",
            )
        return groups

    def _report(
        self,
        experiment: Experiment,
        context: StageContext,
        step: int,
        batch: Batch,
        update: Update,
        seconds: tuple[float, float],
    ) -> None:
        trajectories = [item.trajectory for item in batch.played]
        # where there is a reward, episodes of problems that the teacher has not shown are no part of its mean
        plain = experiment.reward is None
        rewarded = [item for item in batch.played if plain or experiment.is_rewarded(item.trajectory.problem_id)]
        sampled = sum(trajectory.tokens.sampled for trajectory in trajectories if trajectory.tokens is not None)
        loss, last = over_updates(update.losses), update.last
        context.emit(
            "step",
            step=step,
            steps=self.options.steps,
            **(reward_measures(rewarded) if rewarded else {}),
            **trajectory_measures(trajectories, experiment.demonstrations),
            **loss.values,
            **update.measures,
            loss=loss.loss,
            gradient_norm=last.gradient_norm,
            clipped_gradient=last.clipped,
            learning_rate=last.learning_rate,
            flat_groups=batch.flat_groups / (len(batch.played) / self.options.group),
            distinct=_distinct(batch.groups),
            rounds=batch.rounds,
            tokens_per_second=sampled / seconds[0],
            seconds_rollout=seconds[0],
            seconds_update=seconds[1],
            seconds=sum(seconds),
        )


def _warn_of_filtered_sampling(experiment: Experiment, context: StageContext) -> None:
    """Log-probabilities are of the full distribution, so filtered samples are not drawn from what is trained."""
    if experiment.sampling.top_p < 1 or experiment.sampling.top_k > 0:
        context.emit("note", text="rollouts are drawn with top-p or top-k: training on them is biased; 1 and 0 are not")


def _progress(step: int, steps: int) -> float:
    """0 at the first step, 1 at the last."""
    return (step - 1) / (steps - 1) if steps > 1 else 1.0


def _is_flat(group: Sequence[Scored]) -> bool:
    totals = [item.reward.total for item in group]
    return max(totals) - min(totals) < NO_SPREAD


def _outcomes(groups: Sequence[Sequence[Scored]], rewards: NDArray[np.float64]) -> Outcomes:
    """What an advantage estimator sees of the groups: their rewards, sampled tokens and endings."""
    traces = [[item.trajectory.tokens for item in group] for group in groups]
    lengths = [[0 if trace is None else trace.sampled for trace in row] for row in traces]
    ended = [[item.trajectory.ended for item in group] for group in groups]
    return Outcomes(rewards, np.array(lengths, dtype=rewards.dtype), np.array(ended, dtype=rewards.dtype))


def _distinct(groups: Sequence[Sequence[Scored]]) -> float:
    """The share of episodes that say, token by token, what none before them in their group said."""
    said = [[item.trajectory.tokens.ids for item in group if item.trajectory.tokens is not None] for group in groups]
    return sum(len(set(group)) for group in said) / max(sum(map(len, said)), 1)


def _with_constant_length(objective: ObjectiveSpec, longest: int) -> ObjectiveSpec:
    """Dr. GRPO's constant is the longest response there can be, where the recipe names none."""
    if objective.aggregation != "constant" or objective.constant_length is not None:
        return objective
    return objective.model_copy(update={"constant_length": longest})
