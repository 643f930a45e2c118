"""The stages of a recipe's `train` list, each a module that reads as its algorithm."""

from mentor_kit.stages.evaluate import EvaluationPlan, SplitPlan, evaluate, evaluate_split
from mentor_kit.stages.experiment import Evaluation, Experiment, Stage, demonstrate

__all__ = [
    "Evaluation",
    "EvaluationPlan",
    "Experiment",
    "SplitPlan",
    "Stage",
    "demonstrate",
    "evaluate",
    "evaluate_split",
]
