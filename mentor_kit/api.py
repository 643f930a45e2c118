"""mentor-kit from Python: what every command of `mentorkit` does, without the command line.

    import mentor_kit

    run = mentor_kit.run("quickstart", overrides=["train.0.steps=10"])
    run.metrics            # a data frame, a row a step
    run.student            # a folder that transformers loads
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mentor_kit.demonstration import Demonstrations
from mentor_kit.errors import UsageError
from mentor_kit.hooks.registry import Registry, default_registry
from mentor_kit.policy import MemoryEstimate
from mentor_kit.record import Json
from mentor_kit.recipe.assembly import Parts, assemble, assemble_parts, build_stages, estimate_memory
from mentor_kit.recipe.loading import LoadedRecipe, dump_recipe, load_recipe
from mentor_kit.recipe.checking import check_recipe
from mentor_kit.stages import Experiment, SplitPlan, Stage
