"""Teach small language models to use tools, with a teacher's trajectory as a dense reward (MENTOR).

    import mentor_kit

    run = mentor_kit.run("quickstart", overrides={"train.0.steps": 10})

A recipe can also be built in Python; `Recipe` shows how. Importing this package is cheap: the module of a name is
loaded when the name is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.utils.lazy_imports import lazy_attributes
from mentor_kit.utils.version import __version__

if TYPE_CHECKING:
    from mentor_kit.api import (
        audit,
        bench,
        check,
        check_data,
        collect,
        convert_data,
        evaluate,
        export,
        export_run,
        import_run,
        list_runs,
        plan,
        push,
        rescore,
        resume,
        run,
        view,
    )
    from mentor_kit.core.component import ComponentSpec
    from mentor_kit.core.errors import MentorKitError
    from mentor_kit.recipe.loading import load_recipe
    from mentor_kit.recipe.model import (
        CheckpointPlan,
        LoraOptions,
        Recipe,
        RecordPlan,
        Rollout,
        Student,
        StudentAdapter,
    )
    from mentor_kit.report.compare import compare
    from mentor_kit.rl.reward import RewardSpec
    from mentor_kit.runs import Run
    from mentor_kit.stages.evaluation_plan import EvaluationPlan, SplitPlan

__all__ = [
    "CheckpointPlan",
    "ComponentSpec",
    "EvaluationPlan",
    "LoraOptions",
    "MentorKitError",
    "Recipe",
    "RecordPlan",
    "RewardSpec",
    "Rollout",
    "Run",
    "SplitPlan",
    "Student",
    "StudentAdapter",
    "__version__",
    "audit",
    "bench",
    "check",
    "check_data",
    "collect",
    "compare",
    "convert_data",
    "evaluate",
    "export",
    "export_run",
    "import_run",
    "list_runs",
    "load_recipe",
    "plan",
    "push",
    "rescore",
    "resume",
    "run",
    "view",
]

_SECTIONS = ("CheckpointPlan", "LoraOptions", "Recipe", "RecordPlan", "Rollout", "Student", "StudentAdapter")

__getattr__ = lazy_attributes(
    __name__,
    {
        **dict.fromkeys(
            (
                "audit",
                "bench",
                "check",
                "check_data",
                "collect",
                "convert_data",
                "evaluate",
                "export",
                "export_run",
                "import_run",
                "list_runs",
                "plan",
                "push",
                "rescore",
                "resume",
                "run",
                "view",
            ),
            "mentor_kit.api",
        ),
        **dict.fromkeys(_SECTIONS, "mentor_kit.recipe.model"),
        **dict.fromkeys(("EvaluationPlan", "SplitPlan"), "mentor_kit.stages.evaluation_plan"),
        "ComponentSpec": "mentor_kit.core.component",
        "MentorKitError": "mentor_kit.core.errors",
        "RewardSpec": "mentor_kit.rl.reward",
        "Run": "mentor_kit.runs",
        "compare": "mentor_kit.report.compare",
        "load_recipe": "mentor_kit.recipe.loading",
    },
)
