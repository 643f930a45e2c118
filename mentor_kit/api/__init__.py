"""mentor-kit from Python: what every command of `mentorkit` does, without the command line.

import mentor_kit

run = mentor_kit.run("quickstart", overrides=["train.0.steps=10"])
run.metrics            # a data frame, a row a step
run.student            # a folder that transformers loads
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

from mentor_kit.api.evaluating import (
    OWN_TEACHER,
    find_checkpoint,
    with_agent,
    with_checkpoint,
    with_evaluation,
    with_own_teacher,
    with_stage,
)
from mentor_kit.api.running import Edit, begin_run, carry_on
from mentor_kit.audit import Audit
from mentor_kit.audit import audit as audit_reward
from mentor_kit.bench import Bench
from mentor_kit.bench import bench as measure
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import ExitCode, RecipeError, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import hide
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.hooks.tracker import Tracker
from mentor_kit.recipe.assembly import assemble, assemble_components, serve
from mentor_kit.recipe.attribution import attributed
from mentor_kit.recipe.changes import changes
from mentor_kit.recipe.checking import check_recipe, load_checked
from mentor_kit.recipe.expanding import dump_run
from mentor_kit.recipe.loading import LoadedRecipe, load_recipe
from mentor_kit.recipe.plan import RunPlan
from mentor_kit.recipe.plan import plan as make_plan
from mentor_kit.report.parquet import write_outcomes
from mentor_kit.runs import Run, RunFolder
from mentor_kit.runs.files import write_folder
from mentor_kit.stages import SplitPlan

#: Where runs are kept, below the folder `mentorkit` is called in.
RUNS = Path("runs")


def run(
    recipe: str | Path | LoadedRecipe,
    *,
    overrides: Sequence[str] = (),
    output: Path = RUNS,
    trackers: Sequence[Tracker] = (),
    registry: Registry | None = None,
) -> Run:
    """Run a recipe from its beginning, in a new run folder.

    Args:
        recipe: a path, the name of a shipped or registered recipe, or one that is loaded already.
        overrides: settings such as `train.0.steps=9`, as after `--set`.
        output: the folder that run folders are made in.
        trackers: whoever follows the run, such as a display, beside the trackers of the recipe.
        registry: the plugins to use; those of the environment if left out.

    Raises:
        RecipeError: the recipe is wrong; nothing was made.
        Interrupted: the user stopped the run, which can be resumed.
        MentorKitError: anything else a user can cause.
    """
    registry = registry or default_registry()
    loaded = _ready(recipe, registry, overrides)
    folder = RunFolder.create(output, loaded.recipe.name, dump_run(loaded, registry), settings=overrides)
    return begin_run(loaded, folder, registry, trackers)


def resume(
    run: str | Path | Run,
    *,
    overrides: Sequence[str] = (),
    recipe: str | Path | None = None,
    output: Path = RUNS,
    trackers: Sequence[Tracker] = (),
    registry: Registry | None = None,
) -> Run:
    """Go on with a run from its last checkpoint; a run without one starts again in the same folder.

    On a CPU the result is that of an uninterrupted run, to the bit.

    Args:
        run: a run folder, `name/id`, or a recipe's name for its newest run in `output` that trains.
        overrides: settings that change work yet to come, such as `train.0.steps=100`: a run can be lengthened.
        recipe: the recipe that the run was made of, which may have been edited since; the run's own if left out.
        output: the folder of all runs.
        trackers: as for `run`.
        registry: as for `run`.

    Raises:
        UsageError: what is changed contradicts what was done.
    """
    registry = registry or default_registry()
    folder = _run(run, output, lambda run: run.trains).folder
    before = _ready(folder.recipe, registry)
    if recipe is None and not overrides:
        return carry_on(before, folder, registry, trackers)
    settings = [] if recipe is None else folder.settings()
    after = check(folder.recipe if recipe is None else recipe, overrides=[*settings, *overrides], registry=registry)
    notes = [] if recipe is None or not settings else _overruled(recipe, overrides, after, registry)
    found = changes(before, after, registry)
    edit = Edit(before, found, overrides) if found else None
    return carry_on(after if found else before, folder, registry, trackers, edit, notes)


def evaluate(
    recipe: str | Path | LoadedRecipe,
    *,
    overrides: Sequence[str] = (),
    on: Sequence[SplitPlan] = (),
    changes: Mapping[str, Json] | None = None,
    trained: str | Path | Run | None = None,
    checkpoint: str = "last",
    agent: str | None = None,
    output: Path = RUNS,
    trackers: Sequence[Tracker] = (),
    registry: Registry | None = None,
) -> Run:
    """Evaluate a recipe's student as it is, or somebody else on its task: a run whose only stage is `evaluate`.

    Args:
        recipe: as for `run`; set `student.model` to a folder or hub id to evaluate that one.
        overrides: as for `run`; `evaluate.agent.…` are the options of `agent`.
        on: the splits; the recipe's own if left out.
        changes: fields of `SplitPlan` to change in all of them, such as `{"samples": 8}`.
        trained: a run whose student is evaluated: its folder, `name/id`, or a recipe's name for its newest run that
            has a checkpoint.
        checkpoint: which of that run's: `last`, `best`, or the name of a folder under `checkpoints/`.
        agent: a teacher that plays in the student's place, such as `openai`; `teacher` is the recipe's own.
        output: as for `run`.
        trackers: as for `run`.
        registry: as for `run`.

    Raises:
        UsageError: what was asked for does not go together, or there is no such checkpoint.
    """
    registry = registry or default_registry()
    loaded = check(recipe, overrides=with_agent(overrides, agent), look=False, registry=registry)
    if trained is not None:
        loaded = with_checkpoint(loaded, _run(trained, output, lambda run: run.has_checkpoint), checkpoint, registry)
    if agent == OWN_TEACHER:
        loaded = with_own_teacher(loaded)
    loaded = with_evaluation(loaded, on, changes or {})
    done = run(loaded, output=output, trackers=trackers, registry=registry)
    write_outcomes(done)
    return done


def collect(
    recipe: str | Path | LoadedRecipe,
    *,
    overrides: Sequence[str] = (),
    problems: int = 100,
    keep: Literal["right", "all"] = "right",
    output: Path = RUNS,
    trackers: Sequence[Tracker] = (),
    registry: Registry | None = None,
) -> Run:
    """Let a recipe's teacher demonstrate training problems: a run whose only stage is `collect`."""
    registry = registry or default_registry()
    stage = ComponentSpec(use="collect", options={"problems": problems, "keep": keep})
    loaded = with_stage(check(recipe, overrides=overrides, look=False, registry=registry), stage)
    return run(loaded, output=output, trackers=trackers, registry=registry)


def export(
    run: str | Path | Run,
    target: Path,
    *,
    checkpoint: str = "last",
    format: str = "transformers",
    output: Path = RUNS,
    registry: Registry | None = None,
) -> Path:
    """Write a checkpoint's student, with its tokenizer, into a new folder.

    Args:
        run: as for `evaluate`.
        target: the folder to make; it must not exist, or be empty.
        checkpoint: `last`, `best`, or the name of a folder under `checkpoints/`.
        format: `transformers` or `adapter`.
        output: the folder of all runs.
        registry: the plugins to use.

    Raises:
        UsageError: the target exists already, or there is no such checkpoint.
    """
    registry = registry or default_registry()
    for place in (target, *target.parents):
        if place.exists() and not place.is_dir():
            raise UsageError(f"{place} is a file", hint="name a folder to make")
    if target.exists() and any(target.iterdir()):
        raise UsageError(f"{target} exists already and is not empty", hint="name another folder")
    done = _run(run, output, lambda run: run.has_checkpoint)
    loaded = _ready(done.folder.recipe, registry)
    found = find_checkpoint(done, loaded.recipe, checkpoint)
    with attributed(loaded, registry), closing(assemble_components(loaded, registry)) as parts:
        experiment = assemble(loaded, registry, parts)
        experiment.policy.restore(found.policy)
        return write_folder(target, lambda new: experiment.export(new, format))


def check(
    recipe: str | Path | LoadedRecipe,
    *,
    overrides: Sequence[str] = (),
    look: bool = True,
    registry: Registry | None = None,
) -> LoadedRecipe:
    """The recipe, loaded, with every name and option in it checked; nothing heavy is imported.

    Args:
        recipe: as for `run`.
        overrides: as for `run`.
        look: also look at what the recipe names on this machine: files and their columns, modules and their functions,
            commands, folders of models.
        registry: as for `run`.

    Raises:
        RecipeError: it is wrong; the message has every fault, with file, line and column.
    """
    registry = registry or default_registry()
    if not isinstance(recipe, LoadedRecipe):
        return load_checked(recipe, overrides, registry, look=look)
    check_recipe(recipe, registry, look=look)
    return recipe


def plan(
    recipe: str | Path | LoadedRecipe,
    *,
    overrides: Sequence[str] = (),
    memory: float | None = None,
    registry: Registry | None = None,
) -> RunPlan:
    """What a recipe would do and need, without running it: tokens, parameters, an estimate of memory.

    Args:
        recipe: as for `run`.
        overrides: as for `run`.
        memory: GiB of the device that it is planned for; those of this machine's device if left out.
        registry: as for `run`.
    """
    registry = registry or default_registry()
    loaded = _ready(recipe, registry, overrides)
    with attributed(loaded, registry):
        return make_plan(loaded, registry, memory)


def bench(
    recipe: str | Path | LoadedRecipe,
    *,
    overrides: Sequence[str] = (),
    steps: int = 3,
    registry: Registry | None = None,
) -> Bench:
    """What a recipe costs on this machine: a few steps of each training stage are run and measured; nothing is kept.

    Args:
        recipe: as for `run`.
        overrides: as for `run`.
        steps: how many steps of each stage, after one to warm up.
        registry: as for `run`.
    """
    registry = registry or default_registry()
    loaded = _ready(recipe, registry, overrides)
    with attributed(loaded, registry):
        return measure(loaded, registry, steps=steps)


def audit(
    recipe: str | Path | LoadedRecipe,
    *,
    overrides: Sequence[str] = (),
    problems: int = 2,
    tries: int = 1000,
    seed: int = 0,
    families: Sequence[str] = (),
    registry: Registry | None = None,
) -> Audit:
    """Whether anything earns more from a recipe's reward than honest work: known attacks, and a search for others.

    Args:
        recipe: as for `run`; its task, tools, teacher, reward and tokenizer are used, no model is loaded.
        overrides: as for `run`.
        problems: how many problems each attack is tried on.
        tries: how many mutants of honest transcripts are tried in each family; 0 for none.
        seed: of the problems and the mutants.
        families: as which families of models texts are written, or `all`; the student's if left out.
        registry: as for `run`.
    """
    registry = registry or default_registry()
    loaded = check(recipe, overrides=overrides, registry=registry)
    with attributed(loaded, registry):
        return audit_reward(loaded, registry, problems=problems, tries=tries, seed=seed, families=families)


def _ready(recipe: str | Path | LoadedRecipe, registry: Registry, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """The checked recipe, in the process that acts on it.

    Where a launcher started several processes, all but the first serve that one here, and end with it.

    Raises:
        SystemExit: this process has served.
    """
    loaded = check(recipe, overrides=overrides, registry=registry)
    if serve(loaded, registry):
        raise SystemExit(ExitCode.DONE)
    return loaded


def _overruled(recipe: str | Path, overrides: Sequence[str], after: LoadedRecipe, registry: Registry) -> list[str]:
    """What a recipe says that the settings a run was started with overrule, as a note."""
    try:
        found = changes(load_recipe(recipe, overrides), after, registry)
    except RecipeError:  # it is no recipe without those settings
        return []
    said = "; ".join(f"{change.key}: {change.after}, where {recipe} has {change.before}" for change in found)
    return [hide(f"the settings that the run was started with hold: {said} (--set changes them)")] if found else []


def _run(run: str | Path | Run, output: Path, suits: Callable[[Run], bool]) -> Run:
    return run if isinstance(run, Run) else Run.open(run, output, suits)
