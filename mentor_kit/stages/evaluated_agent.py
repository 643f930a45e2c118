"""The agent of an evaluation: a run's student, a checkpoint of another run, an untrained model, or another agent."""

from __future__ import annotations

from typing import Literal

from mentor_kit.core.frozen_model import FrozenModel


class EvaluatedAgent(FrozenModel):
    """A description of the agent of an evaluation; reports have it under `agent`."""

    kind: Literal["run", "checkpoint", "model", "agent"] = "model"
    """run: the student of the run that evaluates it; checkpoint: a student that another run has trained; model: a
    student as it is; agent: a teacher in the student's place."""
    name: str = "student"
    """The recipe's name of the run that trained it, the model, or the agent with its model."""
    model: str | None = None
    """The model that the student is, or was before training."""
    run: str | None = None
    """The run that trained it, as `name/id`."""
    checkpoint: str | None = None
    """The checkpoint's name, or `student` for what the run has exported."""
    steps: int | None = None
    """How many training steps of that run came before the checkpoint, over all stages."""
    seed: int | None = None
    """That run's seed."""

    @property
    def text(self) -> str:
        """The description in a line."""
        if self.kind == "checkpoint":
            return f"{self.run}, {self.checkpoint}"
        if self.kind == "run":
            return f"the student of {self.run}"
        return f"{self.name}, untrained" if self.kind == "model" else self.name


#: A student of which nothing else is known.
STUDENT = EvaluatedAgent()
