"""Export: the student as it is, for other programs to load."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from mentor_kit.stages.context import StageContext
from mentor_kit.stages.evaluate import EvaluationPlan
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.workload import Workload


class ExportOptions(BaseModel):
    """Write the student to the run folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = "transformers"
    """transformers: a whole model, an adapter merged into it; adapter: the adapter alone; others are the backend's."""
    name: str = "student"
    """The folder's name inside the run folder."""


@dataclass(frozen=True)
class ExportStage:
    """The stage `export`."""

    options: ExportOptions

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        """The student is written as it is."""
        return Workload(steps=1, trains=False, scores=False)

    def run(self, experiment: Experiment, context: StageContext) -> None:
        folder = context.write_folder(self.options.name, lambda target: experiment.export(target, self.options.format))
        context.emit("export", folder=str(folder), format=self.options.format)
