"""The options of the stage `sft`."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from mentor_kit.core.component import TeacherSpec
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.task import TRAIN
from mentor_kit.stages.demonstrations import Keep
from mentor_kit.stages.schedule import OptimizerOptions


class SFTOptions(OptionModel):
    """Maximum likelihood of the teacher's demonstrations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(gt=0)
    """Steps, each of one update."""
    batch: int = Field(default=16, gt=0)
    """Problems of a step; their demonstrations make one update."""
    problems: int | None = Field(default=None, gt=0)
    """Size of the pool of problems that is repeated until the last step; null for fresh problems at every step."""
    split: str = TRAIN
    """The task's split that problems are taken from."""
    optimizer: OptimizerOptions
    """The optimizer and its learning rate."""
    teacher: TeacherSpec | None = None
    """A teacher for this stage; the recipe's if left out."""
    keep: Keep = "right"
    """right: only demonstrations with a right answer; all: wrong ones as well."""
    record: bool = True
    """Whether demonstrations are written to the run folder; false saves space where there are very many."""
    broken: Literal["skip", "fail"] = "skip"
    """skip: demonstrations that cannot be trained on are named and left out; fail: the first one ends the run."""
