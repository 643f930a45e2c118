"""Runs a recipe's stages in a run folder, from the beginning or from where an earlier process left off."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial

from mentor_kit.api.student_cards import card_writer
from mentor_kit.api.subjects import kept, subject_of
from mentor_kit.core.demonstration import Demonstrations
from mentor_kit.core.errors import Interrupted, MentorKitError, disk_error
from mentor_kit.core.event import NOTE
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import hide
from mentor_kit.hooks.registry import Registry
from mentor_kit.hooks.tracker import Tracker
from mentor_kit.recipe.assembly import (
    Components,
    assemble,
    assemble_components,
    assemble_without_student,
)
from mentor_kit.recipe.attribution import attributed
from mentor_kit.recipe.changes import Progress, RecipeChange, check_changes
from mentor_kit.recipe.expanding import dump_run, expanded, portable
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.model import Recipe
from mentor_kit.recipe.workloads import build_stages, workloads
from mentor_kit.runs import (
    Checkpoint,
    Checkpoints,
    EventDispatcher,
    RecordOptions,
    Run,
    RunContext,
    RunFolder,
    RunRecorder,
    StopSignal,
)
from mentor_kit.runs.compression import check_compression
from mentor_kit.stages import Stage, Workload
from mentor_kit.stages.evaluate import check_evaluations
from mentor_kit.utils.gc import frozen_heap

_log = logging.getLogger("mentor_kit")


@dataclass(frozen=True)
class Edit:
    """What was changed of a run's recipe since it began."""

    before: LoadedRecipe
    changes: Sequence[RecipeChange]
    overrides: Mapping[str, Json]
    """Those that the run is resumed with."""


def begin_run(loaded: LoadedRecipe, folder: RunFolder, registry: Registry, trackers: Sequence[Tracker] = ()) -> Run:
    """Run every stage in a new folder; where the run fails before its first stage, the folder is removed again."""
    try:
        return carry_on(loaded, folder, registry, trackers)
    except BaseException as error:
        if Run(folder).has_started:
            raise
        folder.discard()
        if isinstance(error, Interrupted):
            raise Interrupted("stopped before the run began; nothing was made") from None
        raise


def carry_on(
    loaded: LoadedRecipe,
    folder: RunFolder,
    registry: Registry,
    trackers: Sequence[Tracker] = (),
    edit: Edit | None = None,
    notes: Sequence[str] = (),
) -> Run:
    """Assemble, go on from the last checkpoint if there is one, and run the stages that are left.

    Args:
        loaded: the recipe, as it is now.
        folder: the run's.
        registry: the plugins to use.
        trackers: whoever follows the run, beside the recipe's trackers.
        edit: what was changed of the recipe.
        notes: what else to record about it.

    Raises:
        UsageError: what was edited contradicts what was done.
        Interrupted: the user stopped the run.
    """
    try:
        with attributed(loaded, registry), closing(assemble_components(loaded, registry)) as components:
            _run_stages(loaded, folder, registry, trackers, components, edit, notes)
    except OSError as error:
        if (disk := disk_error(error)) is None:
            raise
        raise MentorKitError(
            f"{disk.message}; everything up to the last checkpoint is in {folder.path}",
            hint=f"{disk.hint}; to resume: mentorkit run --resume {folder.path}",
        ) from error
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped at once; everything up to the last checkpoint is in {folder.path}",
            hint=f"to resume: mentorkit run --resume {folder.path}",
        ) from None
    if loaded.recipe.report:
        write_report(folder)
    return Run(folder)


def record_options(recipe: Recipe) -> RecordOptions:
    """How much of a run its recipe wants kept.

    Raises:
        MissingError: files are compressed with a package that is not installed.
    """
    wanted = recipe.record
    check_compression(wanted.compress)
    return RecordOptions(
        checkpoint_every=recipe.checkpoints.every,
        rollouts_every=wanted.rollouts,
        tokens=wanted.tokens,
        compress=wanted.compress,
        keep=kept(recipe),
    )


def _run_stages(
    loaded: LoadedRecipe,
    folder: RunFolder,
    registry: Registry,
    trackers: Sequence[Tracker],
    components: Components,
    edit: Edit | None,
    notes: Sequence[str],
) -> None:
    recipe = loaded.recipe
    stages = build_stages(recipe, registry, components.context)
    works = workloads(recipe, stages)
    dispatcher = _dispatcher(recipe, registry, components, trackers)
    go_back_to = None if edit is None else _last_trained(edit, folder, registry, components, list(works.values()))
    with (
        StopSignal(dispatcher.stopping) as stop,
        RunRecorder(folder, record_options(recipe), dispatcher, stop) as recorder,
        attributed(loaded, registry),
    ):
        needs_student = any(work.student for work in works.values())
        experiment = (
            assemble(loaded, registry, components, works)
            if needs_student
            else assemble_without_student(loaded, registry, components)
        )
        trains = any(work.trains for work in works.values())
        experiment.evaluated_agent = subject_of(loaded, folder, trains=trains)
        if experiment.student is not None:
            experiment.describe_export = card_writer(experiment, loaded, components, registry, Run(folder))
        experiment.demonstrations = Demonstrations(recorder.read_demonstrations())
        for stage in _left(stages, go_back_to or recorder.checkpoints.latest()):
            stage.check(experiment)
        if trains:
            check_evaluations(experiment, experiment.evaluation.on)
        recorder.start(
            None if experiment.student is None else experiment.policy,
            portable(expanded(loaded, registry), loaded.folder, folder.path),
            list(works),
            trains=[key for key, work in works.items() if work.trains],
            go_back_to=go_back_to,
            dropped=[] if edit is None else [key for key in _keys(edit.before.recipe) if key not in works],
            replays=not (experiment.deterministic or experiment.staleness or edit or go_back_to),
        )
        if edit is not None:
            _write_down(edit, dump_run(loaded, registry, folder.path), recorder)
        for note in notes:
            recorder.emit(NOTE, "", {"text": note})
        with frozen_heap():
            for index, (key, stage) in enumerate(stages):
                if not recorder.is_done(key):
                    before = [earlier for earlier, _ in stages[:index] if works[earlier].trains]
                    # of a stage that says nothing of its work, its steps tell whether it has trained
                    is_first = not any(works[earlier].is_known or recorder.has_steps(earlier) for earlier in before)
                    stage.run(experiment, RunContext(recorder, key, is_first=is_first))
        if trains:
            folder.write_folder("student", experiment.export)


def write_report(folder: RunFolder) -> None:
    """Write the run's page. The run is done by now, and no fault of the page, and no Ctrl-C, makes it fail."""
    from mentor_kit.report.page import write_page

    try:
        write_page([Run(folder)], folder.report)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (see above)
        with suppress(OSError):  # a page of an earlier end would be taken for this one's
            folder.report.unlink(missing_ok=True)
        why = "stopped by Ctrl-C" if isinstance(error, KeyboardInterrupt) else f"{error}" or type(error).__name__
        _log.warning("the run is done, without its page: %s; `mentorkit report %s` writes it", hide(why), folder.path)


def _dispatcher(
    recipe: Recipe, registry: Registry, components: Components, trackers: Sequence[Tracker]
) -> EventDispatcher:
    """The recipe's trackers, then the caller's: a display shows what became of the others.

    Raises:
        MissingError: a tracker of the recipe needs something that is not installed.
    """
    dispatcher = EventDispatcher()
    for place, spec in enumerate(recipe.trackers):
        owner = registry.component("trackers", spec.use).owner
        dispatcher.build(
            f"trackers.{place}, {spec.use!r} of plugin {owner!r},",
            partial(registry.build, "trackers", spec, components.context),
        )
    for tracker in trackers:
        dispatcher.add(f"tracker {type(tracker).__name__}", tracker)
    return dispatcher


def _left(stages: Sequence[tuple[str, Stage]], checkpoint: Checkpoint | None) -> list[Stage]:
    """The stages that are not finished at a checkpoint."""
    keys = [key for key, _ in stages]
    first = keys.index(checkpoint.stage) if checkpoint is not None and checkpoint.stage in keys else 0
    return [stage for _, stage in stages[first:]]


def _last_trained(
    edit: Edit, folder: RunFolder, registry: Registry, components: Components, after: Sequence[Workload]
) -> Checkpoint | None:
    """The last checkpoint of the last stage that trained: evaluations and the like that came after it are made anew.

    Raises:
        UsageError: what was edited contradicts what was done until then.
    """
    before: list[tuple[str, Stage]] = build_stages(edit.before.recipe, registry, components.context)
    works = workloads(edit.before.recipe, before)
    training = [key for key, work in works.items() if work.trains]
    found = Checkpoints(folder.checkpoints).latest(training)
    progress = Progress() if found is None else Progress(list(works).index(found.stage), found.step)
    hint = (
        f"`mentorkit run --resume {folder.path}` goes on with the recipe as it was; "
        "without --resume the changed recipe makes a new run"
    )
    check_changes(edit.changes, progress, after, hint)
    return found


def _write_down(edit: Edit, recipe: str, recorder: RunRecorder) -> None:
    """The changed recipe in the place of the former one, with what was changed."""
    changed = {change.key: [change.before, change.after] for change in edit.changes}
    # where the recipe's files are now is in the recipe
    settings = {key: value for key, value in edit.overrides.items() if key != "folder"}
    recorder.folder.change_recipe(recipe, settings, changed)
    said = "; ".join(map(str, edit.changes)) or "its files are in another folder"
    recorder.emit(NOTE, "", {"text": f"resumed with a changed recipe: {said}"})


def _keys(recipe: Recipe) -> list[str]:
    return [f"{index}-{spec.use}" for index, spec in enumerate(recipe.train)]
