"""The metrics of a GRPO step: rewards, tool use, losses and rates, as its event has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mentor_kit.core.frozen_model import Json
from mentor_kit.rl.reward import Scored
from mentor_kit.stages.dynamic_sampling import Batch
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.metrics import reward_metrics, trajectory_metrics
from mentor_kit.stages.minibatches import Update
from mentor_kit.stages.stopwatch import Stopwatch


def grpo_metrics(
    experiment: Experiment, batch: Batch, update: Update, stopwatch: Stopwatch, source: Mapping[str, float]
) -> dict[str, Json]:
    """The metrics of a step.

    Args:
        experiment: with the demonstrations that tool use is compared with.
        batch: the step's rollouts.
        update: the result of its updates.
        stopwatch: with the laps `rollout` and `update`.
        source: metrics of where the rollouts came from.
    """
    trajectories = [item.trajectory for item in batch.rollouts]
    # where there is a reward, episodes of problems that the teacher has not solved do not count in its mean
    plain = experiment.reward is None
    rewarded = [item for item in batch.rollouts if plain or experiment.has_reward(item.trajectory.problem_id)]
    sampled = sum(trajectory.tokens.sampled for trajectory in trajectories if trajectory.tokens is not None)
    return {
        **(reward_metrics(rewarded) if rewarded else {}),
        **trajectory_metrics(trajectories, experiment.demonstrations),
        **update.loss.values,
        **update.distillation,
        **(staleness_metrics(batch.groups(), update.version) if experiment.staleness else {}),
        **source,
        "loss": update.loss.loss,
        "gradient_norm": update.last.gradient_norm,
        "clipped_gradient": update.last.clipped,
        "learning_rate": update.last.learning_rate,
        "zero_variance_groups": batch.zero_variance / (len(batch.rollouts) / batch.group),
        "distinct": _distinct(batch.groups()),
        "rounds": batch.rounds,
        "tokens_per_second": sampled / stopwatch.laps["rollout"],
        "seconds_rollout": stopwatch.laps["rollout"],
        "seconds_update": stopwatch.laps["update"],
        "seconds": stopwatch.total,
    }


def staleness_metrics(groups: Sequence[Sequence[Scored]], version: int) -> dict[str, float]:
    """How many versions the weights of `version` are ahead of those that sampled the tokens of the groups.

    `staleness_mean` and `staleness_max` are over sampled tokens; a turn's version is that of its oldest token.
    """
    traces = [item.trajectory.tokens for group in groups for item in group if item.trajectory.tokens is not None]
    turns = [turn for trace in traces for turn in trace.turns]
    behind = np.array([version - turn.version for turn in turns], dtype=np.float64)
    tokens = np.array([turn.end - turn.start for turn in turns], dtype=np.float64)
    if not tokens.sum():
        return {"staleness_mean": 0.0, "staleness_max": 0.0}
    return {"staleness_mean": float((behind * tokens).sum() / tokens.sum()), "staleness_max": float(behind.max())}


def _distinct(groups: Sequence[Sequence[Scored]]) -> float:
    """The share of rollouts whose tokens differ from those of every rollout before them in their group."""
    ids = [[item.trajectory.tokens.ids for item in group if item.trajectory.tokens is not None] for group in groups]
    return sum(len(set(group)) for group in ids) / max(sum(map(len, ids)), 1)
