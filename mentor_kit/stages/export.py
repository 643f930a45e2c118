"""Export: the student as it is now is written in a format that other programs load."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Self

from pydantic import ConfigDict, model_validator

from mentor_kit.core.option_model import OptionModel
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.evaluation_plan import EvaluationPlan
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.stage import Stage
from mentor_kit.stages.student import written_otherwise
from mentor_kit.stages.workload import Workload

_log = logging.getLogger("mentor_kit")

#: The folder that a run which trains fills at its end, with the whole student.
_OWN = "student"


class ExportOptions(OptionModel):
    """Write the student to the run folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = "transformers"
    """transformers: a whole model, an adapter merged into it; adapter: the adapter alone; others are the backend's."""
    name: str | None = None
    """The folder's name inside the run folder; student, or student-FORMAT for a format other than transformers."""

    @model_validator(mode="after")
    def _leaves_the_runs_own(self) -> Self:
        if self.name == _OWN and self.format != "transformers":
            raise ValueError(
                f"a run writes its whole student into its folder {_OWN!r} at its end, over format {self.format!r}: "
                f"choose another `name`, or leave it out for '{_OWN}-{self.format}'"
            )
        return self

    def folder(self, format: str) -> str:
        """The folder's name for a student that is written in a format."""
        if self.name is not None:
            return self.name
        return _OWN if format == "transformers" else f"{_OWN}-{format}"


@dataclass(frozen=True)
class ExportStage(Stage):
    """The stage `export`."""

    options: ExportOptions

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        """The student is written as it is."""
        return Workload(steps=1, trains=False, evaluates=False, exports={"format": self.options.format})

    def check(self, experiment: Experiment) -> None:
        """Say where the student cannot be written as asked."""
        if experiment.student is None:
            return
        written, fault = experiment.student.written_as(self.options.format)
        if fault is not None:
            _log.warning("export: %s", written_otherwise(self.options.format, written, fault))

    def run(self, experiment: Experiment, context: StageContext) -> None:
        student = experiment.student
        expected = self.options.format if student is None else student.written_as(self.options.format)[0]
        written: list[str] = []
        folder = context.write_folder(
            self.options.folder(expected), lambda target: written.append(experiment.export(target, self.options.format))
        )
        context.emit("export", folder=str(folder), format=written[-1])
