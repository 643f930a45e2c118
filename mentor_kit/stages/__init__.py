"""The stages of a recipe's `train` list, each a module that reads as its algorithm.

Importing this package is cheap: its plugin is asked for stages long before one runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.utils.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from mentor_kit.stages.evaluate import EvaluationPlan, SplitPlan
    from mentor_kit.stages.experiment import Checks, Evaluation, Experiment, Stage, demonstrate
    from mentor_kit.stages.workload import TellsWorkload, Workload

__all__ = [
    "Checks",
    "Evaluation",
    "EvaluationPlan",
    "Experiment",
    "SplitPlan",
    "Stage",
    "TellsWorkload",
    "Workload",
    "demonstrate",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        **dict.fromkeys(("EvaluationPlan", "SplitPlan"), "mentor_kit.stages.evaluate"),
        **dict.fromkeys(("Checks", "Evaluation", "Experiment", "Stage", "demonstrate"), "mentor_kit.stages.experiment"),
        **dict.fromkeys(("TellsWorkload", "Workload"), "mentor_kit.stages.workload"),
    },
)
