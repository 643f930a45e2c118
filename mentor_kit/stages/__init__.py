"""The stages of a recipe's `train` list; the built-in ones are collect, sft, grpo, evaluate and export.

Importing this package is cheap: its plugin is asked for stages long before one runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.utils.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from mentor_kit.stages.demonstrations import demonstrate
    from mentor_kit.stages.evaluation import Evaluation, EvaluationResult
    from mentor_kit.stages.evaluation_plan import EvaluationPlan, SplitPlan
    from mentor_kit.stages.experiment import Experiment
    from mentor_kit.stages.stage import Stage
    from mentor_kit.stages.student import LoadedStudent
    from mentor_kit.stages.workload import SplitUse, TeacherUse, Workload

__all__ = [
    "Evaluation",
    "EvaluationPlan",
    "EvaluationResult",
    "Experiment",
    "LoadedStudent",
    "SplitPlan",
    "SplitUse",
    "Stage",
    "TeacherUse",
    "Workload",
    "demonstrate",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "demonstrate": "mentor_kit.stages.demonstrations",
        **dict.fromkeys(("Evaluation", "EvaluationResult"), "mentor_kit.stages.evaluation"),
        **dict.fromkeys(("EvaluationPlan", "SplitPlan"), "mentor_kit.stages.evaluation_plan"),
        "Experiment": "mentor_kit.stages.experiment",
        "Stage": "mentor_kit.stages.stage",
        "LoadedStudent": "mentor_kit.stages.student",
        **dict.fromkeys(("SplitUse", "TeacherUse", "Workload"), "mentor_kit.stages.workload"),
    },
)
