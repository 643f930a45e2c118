"""The groups of a step's rollouts, and the advantages that the stage's own estimator gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import MentorKitError
from mentor_kit.hooks.objectives import build_objective
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.rl.objective import Objective, ObjectiveSpec
from mentor_kit.rl.reward import Scored
from mentor_kit.runs import Run
from mentor_kit.stages.dynamic_sampling import Batch
from mentor_kit.stages.grpo_options import GRPOOptions
from mentor_kit.stages.permuted_rewards import permuted
from mentor_kit.stages.token_groups import outcomes

Groups = list[list[Scored]]


@dataclass(frozen=True)
class StageRewards:
    """How a stage of the run uses rewards: its groups, its estimator, and how much of the stage was done at a step."""

    options: GRPOOptions | None
    """None for a stage of another kind, whose groups are episodes of one problem next to each other."""
    objective: Objective
    seed: int

    @property
    def learns(self) -> bool:
        """Whether anything is learned from rewards."""
        return self.objective.spec.needs_reward

    def progress(self, step: int, steps: int | None) -> float:
        """The share of the stage that was done before a step, as its weights' schedules had it.

        Args:
            step: from 1.
            steps: the stage's number of steps at that time; the recipe's, or else the step itself, if not known.
        """
        if not self.learns:
            return 1.0
        steps = steps or (self.options.steps if self.options is not None else step)
        return (step - 1) / (steps - 1) if steps > 1 else 1.0

    def groups(self, scored: Sequence[Scored]) -> Groups:
        """All groups of a step, those that dynamic sampling replaced included."""
        if self.options is not None and len(scored) % self.options.group == 0:
            size = self.options.group
            found = [list(scored[start : start + size]) for start in range(0, len(scored), size)]
            if all(len({item.trajectory.problem_id for item in group}) == 1 for group in found):
                return found
        return [list(group) for _, group in groupby(scored, lambda item: item.trajectory.problem_id)]

    def trained(self, groups: Groups) -> list[int]:
        """The positions of the groups that the stage learned from."""
        recorded = [place for place, group in enumerate(groups) if group[0].advantage is not None]
        if recorded:
            return recorded
        if self.options is None or len({len(group) for group in groups}) > 1:
            return list(range(len(groups)))
        batch = Batch(self.options.problems, len(groups[0]), max_rounds=1 + self.options.resample)
        batch.add([item for group in groups for item in group])
        kept = {id(group[0]) for group in batch.groups()}
        return [place for place, group in enumerate(groups) if id(group[0]) in kept]

    def advantages(self, groups: Groups, rewards: Sequence[Sequence[float]], step: int) -> list[list[float]]:
        """The advantage of each rollout of the groups that were learned from.

        Args:
            groups: N groups.
            rewards: of each rollout, which may differ from those of the record.
            step: of the stage.
        """
        if len({len(group) for group in groups}) != 1:
            return [self._of(([group]), [row], step)[0] for group, row in zip(groups, rewards, strict=True)]
        return self._of(groups, rewards, step)

    def _of(self, groups: Groups, rewards: Sequence[Sequence[float]], step: int) -> list[list[float]]:
        array: NDArray[np.float64] = np.array(rewards, dtype=np.float64)
        if self.options is not None and self.options.permute_rewards:
            array = permuted(array, self.seed, step)
        found: list[list[float]] = self.objective.advantages(outcomes(groups, array)).tolist()
        return found


def stage_rewards(run: Run, stage: str, context: BuildContext, notes: list[str]) -> StageRewards:
    """How a stage of the run uses rewards.

    Args:
        run: the run.
        stage: the stage's key, such as `1-grpo`.
        context: of the run's recipe.
        notes: gets a sentence where the stage's own estimator is not known.
    """
    options, objective = None, None
    try:
        place, _, _ = stage.partition("-")
        spec = ComponentSpec.model_validate(run.recipe["train"][int(place)])
        found = context.registry.check("stages", spec)
        if isinstance(found, GRPOOptions):
            options, objective = found, build_objective(found.objective, context)
    except (MentorKitError, ValueError, LookupError, TypeError) as error:
        reason = error.message if isinstance(error, MentorKitError) else type(error).__name__
        notes.append(f"the options of {stage} cannot be read ({reason})")
        options = None
    if objective is None:
        notes.append(f"the estimator of {stage} is not known: advantages are those of GRPO")
        objective = build_objective(ObjectiveSpec(), context)
    return StageRewards(options, objective, run.seed)
