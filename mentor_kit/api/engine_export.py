"""Exports a recipe as a run of a training engine, such as verl on a cluster."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.checking import check
from mentor_kit.api.exporting import new_folder
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import UsageError
from mentor_kit.core.explanation import shown
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import BuildContext, ComponentError, Registry
from mentor_kit.recipe.assembly import assemble_components, assemble_without_student, student_spec
from mentor_kit.recipe.attribution import attributed
from mentor_kit.recipe.engines import (
    Cluster,
    EngineRun,
    EpisodeRow,
    TrainingEngine,
    collect_rows,
    common_faults,
    stage_options,
)
from mentor_kit.recipe.engines.episodes import EpisodePlayer
from mentor_kit.recipe.expanding import dump_run
from mentor_kit.recipe.faults import RecipeFaults, faults_at
from mentor_kit.recipe.loading import LoadedRecipe, RecipeLike
from mentor_kit.recipe.python_values import NO_OVERRIDES
from mentor_kit.runs.files import write_folder, write_text
from mentor_kit.stages.grpo_options import GRPOOptions
from mentor_kit.utils.strict_json import to_json

#: The file that says what an exported folder is of: the engine with its options, and the machines.
MANIFEST = "export.json"
#: The files of all problems and of all demonstrations, which `import_run` reads.
PROBLEMS, DEMONSTRATIONS = "problems.jsonl", "demonstrations.jsonl"


@dataclass(frozen=True)
class ExportedRun:
    """A folder with an engine's run."""

    folder: Path
    engine: str
    training_rows: int
    evaluation_rows: int
    differences: tuple[str, ...]
    """What is different in the engine, a sentence each."""


@checked_arguments
def export_run(
    recipe: RecipeLike,
    target: str | Path,
    *,
    engine: str | ComponentSpec,
    overrides: Mapping[str, Any] = NO_OVERRIDES,
    nodes: int = 1,
    gpus: int = 8,
    progress: Callable[[int, int], None] | None = None,
    registry: Registry | None = None,
) -> ExportedRun:
    """Write a recipe as a complete run of a training engine, with mentor-kit's own episodes and rewards in it.

    Args:
        recipe: as for `run`.
        target: the folder to make; it must not exist, or be empty.
        engine: an engine's name, or the name with options.
        overrides: as for `run`.
        nodes: the machines that the engine runs on.
        gpus: of each machine.
        progress: called with how many problems have their demonstrations, and how many there are.
        registry: the plugins to use; those of the environment if left out.

    Raises:
        RecipeError: the recipe is wrong, or says what the engine cannot do: every fault with its place.
        UsageError: there is no such engine, an option of it is wrong, or the target exists already.
        MissingError: the student's tokenizer is not on this machine, or something that the task or the teacher needs.
    """
    registry = registry or default_registry()
    spec = ComponentSpec(use=engine) if isinstance(engine, str) else engine
    cluster = _cluster(nodes, gpus)
    folder = new_folder(target)
    built = build_engine(spec, registry)
    loaded = check(recipe, overrides=overrides, registry=registry)
    options = stage_options(loaded.recipe, registry)
    faults = [*common_faults(loaded.recipe)]
    if options is not None:
        faults += built.faults(loaded, options, cluster)
    if options is None or faults:
        raise RecipeFaults(faults_at(loaded.source, faults))
    with attributed(loaded, registry):
        rows = _rows(loaded, registry, options, progress)
        run = _engine_run(loaded, registry, options, cluster, rows)
    differences: list[str] = []

    def fill(new: Path) -> None:
        _write_common(run, spec, rows, new)
        differences.extend(built.write(run, rows, new))

    write_folder(folder, fill)
    trained = sum(not row.evaluation for row in rows)
    return ExportedRun(folder, spec.use, trained, len(rows) - trained, tuple(differences))


def build_engine(spec: ComponentSpec, registry: Registry) -> TrainingEngine:
    """The engine of a name, with its options.

    Raises:
        UsageError: there is none of that name, or an option is wrong.
    """
    try:
        found: TrainingEngine = registry.build("engines", spec, BuildContext(registry), base=TrainingEngine)
    except ComponentError as error:
        # no recipe names an engine: its options are the command line's
        faults = "; ".join(": ".join(filter(None, (".".join(map(str, at[1:])), text))) for at, text in error.faults)
        raise UsageError(f"engine {spec.use!r}: {faults}") from None
    return found


def _cluster(nodes: int, gpus: int) -> Cluster:
    for name, value in (("nodes", nodes), ("gpus", gpus)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, not {shown(value)}")
    return Cluster(nodes, gpus)


def _rows(
    loaded: LoadedRecipe, registry: Registry, options: GRPOOptions, progress: Callable[[int, int], None] | None
) -> list[EpisodeRow]:
    """All rows; the teacher demonstrates their problems, where the recipe has one."""
    total, found = options.steps * options.problems * (1 + options.resample), list[EpisodeRow]()
    with closing(assemble_components(loaded, registry)) as components:
        for row in collect_rows(assemble_without_student(loaded, registry, components), options):
            found.append(row)
            if progress is not None:
                progress(min(len(found), total), total)
    return found


def _engine_run(
    loaded: LoadedRecipe,
    registry: Registry,
    options: GRPOOptions,
    cluster: Cluster,
    rows: Sequence[EpisodeRow],
) -> EngineRun:
    with closing(EpisodePlayer(loaded, registry=registry)) as player:
        student = student_spec(loaded, registry, player.components.context)
        longest = max(player.prompt_length(row) for row in _once(rows))
    carries = registry.has("students", loaded.recipe.student.model)
    return EngineRun(loaded, registry, options, student, carries, cluster, longest)


def _once(rows: Iterable[EpisodeRow]) -> Iterable[EpisodeRow]:
    """A row of each problem."""
    return {row.problem.id: row for row in rows}.values()


def _write_common(run: EngineRun, spec: ComponentSpec, rows: Sequence[EpisodeRow], folder: Path) -> None:
    """Write what every engine's folder has: the recipe, the problems, the demonstrations, the student it carries."""
    if run.carries_student:
        shutil.copytree(run.student.model, folder / "student")
    problems: dict[str, Problem] = {}
    demonstrations: dict[str, Sequence[Demonstration]] = {}
    for row in _once(rows):
        problems[row.problem.id] = row.problem
        demonstrations[row.problem.id] = row.demonstrations
    write_text(folder / PROBLEMS, "".join(f"{problem.to_json()}\n" for problem in problems.values()))
    shown_lines = (one.to_json() for of_problem in demonstrations.values() for one in of_problem)
    write_text(folder / DEMONSTRATIONS, "".join(f"{line}\n" for line in shown_lines))
    manifest: dict[str, Json] = {
        "engine": spec.model_dump(by_alias=True),
        "nodes": run.cluster.nodes,
        "gpus": run.cluster.gpus,
    }
    write_text(folder / MANIFEST, to_json(manifest, indent=2) + "\n")
    write_text(folder / "recipe.yaml", dump_run(run.loaded, run.registry, folder))
