"""The options of the stage `grpo`."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from mentor_kit.core.component import TeacherSpec
from mentor_kit.core.option_model import OptionModel
from mentor_kit.rl.objective import ObjectiveSpec
from mentor_kit.stages.schedule import OptimizerOptions


class GRPOOptions(OptionModel):
    """Reinforcement learning on groups of the student's own rollouts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(gt=0)
    """Steps, each of `problems` times `group` rollouts."""
    problems: int = Field(default=16, gt=0)
    """Problems of a step."""
    group: int = Field(default=8, gt=0)
    """Rollouts of each problem (the paper's G); at least 2, unless nothing is learned from rewards."""
    objective: ObjectiveSpec = ObjectiveSpec()
    """What an update maximises, such as `{preset: grpo}`."""
    teacher: TeacherSpec | None = None
    """Where the objective distils: a teacher with the student's tokens, such as `local`; the recipe's if left out.
    Demonstrations are the recipe's teacher's in any case."""
    optimizer: OptimizerOptions
    """The optimizer and its learning rate."""
    minibatches: int = Field(default=1, gt=0)
    """Updates of an epoch: the groups are divided into so many minibatches; into fewer where there are fewer groups."""
    epochs: int = Field(default=1, gt=0)
    """How often a step's rollouts are trained on."""
    resample: int = Field(default=0, ge=0)
    """Dynamic sampling: zero-variance groups are replaced by groups of fresh problems, in at most so many rounds."""
    mask_unended: bool = False
    """Overlong masking: trajectories that did not end count in the group's statistics, and are not trained on."""
    permute_rewards: bool = False
    """A control: rewards are permuted within each group, so that nothing can be learned from them."""

    def progress(self, step: int) -> float:
        """The share of the steps that is done before `step`, in [0, 1]; 1 where there is one step."""
        return (step - 1) / (self.steps - 1) if self.steps > 1 else 1.0

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
