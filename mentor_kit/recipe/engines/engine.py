"""The contract of a training engine, which a plugin registers by `register_engines`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.backend.student import StudentSpec
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.engines.results import EngineResults
from mentor_kit.recipe.engines.rows import EpisodeRow
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.model import Recipe
from mentor_kit.recipe.source import Path_
from mentor_kit.stages.evaluation_plan import SplitPlan
from mentor_kit.stages.grpo_options import GRPOOptions

#: The stage that engines run, and its key in a run.
STAGE = "grpo"
STAGE_KEY = f"0-{STAGE}"


@dataclass(frozen=True)
class Cluster:
    """The machines that an engine runs on."""

    nodes: int = 1
    gpus: int = 8
    """Of each node."""

    @property
    def devices(self) -> int:
        """All GPUs."""
        return self.nodes * self.gpus


@dataclass(frozen=True)
class EngineRun:
    """What is exported: a checked recipe without faults for the engine, its rows, and the machines."""

    loaded: LoadedRecipe
    registry: Registry
    options: GRPOOptions
    """Of the recipe's only training stage."""
    student: StudentSpec
    """With the model found: a folder of this machine, or a hub id."""
    carries_student: bool
    """Whether the student's folder belongs to a package, and is copied into the export."""
    cluster: Cluster
    longest_prompt: int
    """Tokens of the longest prompt of any row."""

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return self.loaded.recipe


class TrainingEngine(ABC):
    """Base class of training engines. One implements all three methods."""

    @abstractmethod
    def faults(self, loaded: LoadedRecipe, options: GRPOOptions, cluster: Cluster) -> Iterable[tuple[Path_, str]]:
        """Yield what the recipe says and the engine cannot do: the recipe's place, and what to do instead.

        `common_faults`, which are those of every engine, are found already. Imports nothing heavy.
        """

    @abstractmethod
    def write(self, run: EngineRun, rows: Sequence[EpisodeRow], folder: Path) -> Sequence[str]:
        """Write what the engine needs into a folder that has `recipe.yaml`, and the student where it is carried.

        The folder may be moved afterwards: no file names its path.

        Args:
            run: the recipe and the machines.
            rows: those to train on in the order of the steps, then those of evaluations.
            folder: to write into.

        Returns:
            What is different in the engine, a sentence each: for the user and for the folder's own page.
        """

    @abstractmethod
    def read(self, folder: Path) -> EngineResults:
        """Return what a run in an exported folder has left so far.

        Raises:
            DataError: there is nothing, or a file cannot be read.
        """


def stage_options(recipe: Recipe, registry: Registry) -> GRPOOptions | None:
    """The options of the recipe's only stage; None where it has others, or is another than engines run."""
    if len(recipe.train) != 1:
        return None
    options = registry.check("stages", recipe.train[0])
    return options if isinstance(options, GRPOOptions) else None


def common_faults(recipe: Recipe) -> Iterable[tuple[Path_, str]]:
    """Yield what no engine does: it runs one stage `grpo` from the recipe's student, and splits of its task."""
    if [stage.use for stage in recipe.train] != [STAGE]:
        found = ", ".join(stage.use for stage in recipe.train) or "none"
        yield (
            ("train",),
            f"an engine runs one stage `{STAGE}`, and the recipe has: {found}; run the stages before it here, "
            "and name the folder of the student that they leave as `student.model`",
        )
    if recipe.student.checkpoint is not None:
        yield (
            ("student", "checkpoint"),
            "an engine starts from a model's folder: write one by `mentorkit export`, and name it as `student.model`",
        )
    for place, plan in enumerate(recipe.evaluate.on):
        if not isinstance(plan, SplitPlan):
            yield (
                ("evaluate", "on", place),
                f"the evaluation {plan.use!r} is run by mentor-kit alone: leave it out, "
                "and run it on the imported student by `mentorkit evaluate`",
            )
    if recipe.evaluate.agent is not None:
        yield ("evaluate", "agent"), "an engine evaluates the student alone: leave it out"
