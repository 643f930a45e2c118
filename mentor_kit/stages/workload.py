"""What a stage will do, said before it runs: dry runs, estimates of memory, benchmarks and resuming go by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pydantic import Field

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.errors import MentorKitError, PluginError
from mentor_kit.core.frozen_model import FrozenModel

if TYPE_CHECKING:
    from mentor_kit.stages.evaluate import EvaluationPlan


class Workload(FrozenModel):
    """A stage's work. Every field's default is what is assumed of a stage that says nothing."""

    steps: int | None = Field(default=None, ge=0)
    """Its steps, 1 for a stage that has none; None where that cannot be told."""
    problems: int = Field(default=0, ge=0)
    """Problems of each step."""
    episodes: int = Field(default=0, ge=0)
    """Episodes that the student plays in each step, evaluations aside."""
    sequences: int = Field(default=0, ge=0)
    """Sequences that the student generates at once at the most, in evaluations too."""
    student: bool = True
    """Whether it uses the student; where no stage does, none is loaded."""
    trains: bool = True
    """Whether it changes the student's weights; where no stage does, none are written."""
    scores: bool = True
    """Whether it learns from the recipe's reward."""
    reference: bool = False
    """Whether it keeps a reference policy."""
    optimizer: OptimizerSpec | None = None
    """The optimizer that it prepares."""
    adjustable: tuple[str, ...] = ()
    """Its options that only concern steps yet to come, such as `steps`: they may change while it is under way."""

    @property
    def is_known(self) -> bool:
        """Whether the stage said anything."""
        return self != UNKNOWN


#: Of a stage that says nothing.
UNKNOWN = Workload()


@runtime_checkable
class TellsWorkload(Protocol):
    """A stage that says ahead what it will do; optional, and worth it: see `Workload` for what is assumed otherwise."""

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        """The stage's work.

        Args:
            evaluation: the recipe's `evaluate`, for stages that play its evaluations.
        """
        ...


def workload_of(key: str, stage: object, evaluation: EvaluationPlan) -> Workload:
    """What the stage says of its work, or `UNKNOWN`.

    Raises:
        PluginError: it fails to say it, or says something else.
    """
    if not isinstance(stage, TellsWorkload):
        return UNKNOWN
    try:
        found = stage.workload(evaluation)
    except MentorKitError:
        raise
    except Exception as error:
        raise PluginError(
            f"the stage {key} could not tell its workload: {type(error).__name__}: {error}",
            hint="this is a fault of the plugin that the stage comes from",
        ) from error
    if not isinstance(found, Workload):
        raise PluginError(f"the stage {key} gave {found!r} for its workload; expected a `mentor_kit.stages.Workload`")
    return found
