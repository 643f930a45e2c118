"""The workload of a stage, which checks, dry runs, memory estimates, resuming and benchmarks go by.

Every number is known before the run, from the stage's options alone.
"""

from __future__ import annotations

from pydantic import Field

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.frozen_model import FrozenModel


class SplitUse(FrozenModel):
    """A split of the task that a stage takes problems from."""

    split: str
    option: tuple[str | int, ...] = ()
    """The path of the option that names it, such as `("on", 0, "split")`; empty where it is the stage's default."""


class TeacherUse(FrozenModel):
    """A teacher that a stage's own options name."""

    teacher: ComponentSpec
    demonstrates: bool = True
    """Whether it is asked for demonstrations; False where it only reads the student's tokens."""


class Workload(FrozenModel):
    """What a stage does and needs. The defaults are those of a stage that trains the student and says no more."""

    steps: int | None = Field(default=None, ge=0)
    """Number of steps, 1 for a stage that has none; None where it is not known."""
    problems: int = Field(default=0, ge=0)
    """Problems of a step."""
    episodes: int = Field(default=0, ge=0)
    """Episodes of the student in a step, the recipe's evaluations aside."""
    sequences: int = Field(default=0, ge=0)
    """Largest number of sequences that the student generates at once, the recipe's evaluations aside."""
    ahead: bool = False
    """Whether it samples ahead of its steps, as the recipe's `rollout.staleness` allows: so many times as many more."""
    tokens: int | None = Field(default=None, gt=0)
    """Largest number of tokens of a sequence after its prompt; None for the recipe's `rollout.max_response_tokens`."""
    student: bool = True
    """Whether it uses the student; where no stage does, none is loaded."""
    trains: bool = True
    """Whether it changes the student's weights; where no stage does, none are written."""
    evaluates: bool = True
    """Whether it makes the evaluations of the recipe's `evaluate`."""
    reward: bool = False
    """Whether it learns from the recipe's reward."""
    reference: bool = False
    """Whether it keeps a reference policy."""
    demonstrations: bool = False
    """Whether it needs demonstrations by the recipe's teacher; False where its options name a teacher of its own."""
    teacher: bool = False
    """Whether it needs the recipe's teacher for anything else, such as log-probabilities; False as above."""
    own_teachers: tuple[TeacherUse, ...] = ()
    """Teachers that its options name; their models are counted where they share the student's memory."""
    optimizer: OptimizerSpec | None = None
    """The optimizer that it prepares; AdamW with its defaults is assumed where a stage trains and names none."""
    splits: tuple[SplitUse, ...] = ()
    """The task's splits that it takes problems from, those of the recipe's `evaluate` aside."""
    exports: dict[str, str] = {}
    """Formats in which it exports the student, by the name of the option that has the format."""
    adjustable: tuple[str, ...] = ()
    """Names of its options that concern only steps yet to come, such as `steps`: they may change while it runs."""

    @property
    def is_known(self) -> bool:
        """Whether the stage gave a workload."""
        return self != UNKNOWN


def teacher_uses(teacher: ComponentSpec | None, *, demonstrates: bool = True) -> tuple[TeacherUse, ...]:
    """The uses of a teacher that a stage's options name, if they name one."""
    return () if teacher is None else (TeacherUse(teacher=teacher, demonstrates=demonstrates),)


#: The workload of a stage that gives none.
UNKNOWN = Workload()
