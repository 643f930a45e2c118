"""Teach small language models to use tools, with a teacher's trajectory as a dense reward (MENTOR).

    import mentor_kit

    run = mentor_kit.run("quickstart")

Importing this package is cheap: what a name stands for is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.utils.lazy_imports import lazy_attributes
from mentor_kit.utils.version import __version__

if TYPE_CHECKING:
    from mentor_kit.api import check, collect, evaluate, export, plan, resume, run
    from mentor_kit.core.errors import MentorKitError
    from mentor_kit.recipe.loading import load_recipe
    from mentor_kit.report.compare import compare
    from mentor_kit.runs import Run

__all__ = [
    "MentorKitError",
    "Run",
    "__version__",
    "check",
    "collect",
    "compare",
    "evaluate",
    "export",
    "load_recipe",
    "plan",
    "resume",
    "run",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        **dict.fromkeys(("check", "collect", "evaluate", "export", "plan", "resume", "run"), "mentor_kit.api"),
        "MentorKitError": "mentor_kit.core.errors",
        "Run": "mentor_kit.runs",
        "compare": "mentor_kit.report.compare",
        "load_recipe": "mentor_kit.recipe.loading",
    },
)
