"""Imports what a training engine has left in an exported folder: metrics, episodes and weights become a run folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from pydantic import ValidationError

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.engine_export import DEMONSTRATIONS, MANIFEST, PROBLEMS, build_engine
from mentor_kit.api.executing import record_options, write_report
from mentor_kit.api.locations import RUNS, folder_path
from mentor_kit.api.student_cards import card_writer
from mentor_kit.api.subjects import subject_of
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.demonstration import Demonstrations
from mentor_kit.core.errors import DataError, MissingError, UsageError
from mentor_kit.core.event import NOTE
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.assembly import (
    Components,
    assemble_components,
    assemble_without_student,
    backend_of,
    student_format,
    student_spec,
)
from mentor_kit.recipe.attribution import attributed
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.engines import STAGE_KEY, EngineResults, PlayedEpisode, stage_options
from mentor_kit.recipe.expanding import dump_run, expanded, portable
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.rl.reward import Scored
from mentor_kit.runs import Run, RunContext, RunFolder, RunRecorder
from mentor_kit.runs.records import read_demonstrations, read_records
from mentor_kit.stages import Experiment, LoadedStudent
from mentor_kit.stages.dynamic_sampling import has_zero_variance
from mentor_kit.stages.evaluate import write_result
from mentor_kit.stages.evaluation_episodes import EvaluationEpisodes
from mentor_kit.stages.evaluation_plan import SplitPlan, UniqueNames, file_name, plan_names
from mentor_kit.stages.evaluation_report import checkpoint_metrics, split_result
from mentor_kit.stages.grpo_options import GRPOOptions
from mentor_kit.stages.metrics import reward_metrics, trajectory_metrics
from mentor_kit.stages.schedule import learning_rate


@checked_arguments
def import_run(folder: str | Path, *, output: str | Path = RUNS, registry: Registry | None = None) -> Run:
    """Make a run folder of what a training engine has left in a folder that `export_run` wrote.

    It has the metrics of every step, the rollouts, the evaluations, and where the engine has left its final weights, a
    checkpoint and the student. `report`, `compare`, `view` and `export` read it as any other.

    Args:
        folder: the exported folder, in which the engine has run.
        output: the folder that run folders are made in.
        registry: the plugins to use; those of the environment if left out.

    Raises:
        UsageError: the folder is none that `export_run` wrote.
        DataError: there are no results in it, or one of its files cannot be read.
        MissingError: something that the task or the tools need is not on this machine.
    """
    registry = registry or default_registry()
    folder = Path(folder)
    engine = _engine_of(folder)
    results = build_engine(engine, registry).read(folder)
    loaded = load_checked(folder / "recipe.yaml", {}, registry)
    options = stage_options(loaded.recipe, registry)
    assert options is not None, "an exported recipe has one stage, `grpo`"
    made = RunFolder.create(
        folder_path(output),
        loaded.recipe.name,
        lambda path: dump_run(loaded, registry, path),
        settings={},
    )
    try:
        with attributed(loaded, registry), closing(assemble_components(loaded, registry)) as components:
            _Import(folder, engine.use, results, loaded, options, registry, components, made).write()
    except BaseException:
        made.discard()
        raise
    if loaded.recipe.report:
        write_report(made)
    return Run(made)


@dataclass(frozen=True)
class _Import:
    """One import: the results, and the run that they become."""

    folder: Path
    engine: str
    results: EngineResults
    loaded: LoadedRecipe
    options: GRPOOptions
    registry: Registry
    components: Components
    run: RunFolder

    def write(self) -> None:
        """Write the whole run."""
        experiment = assemble_without_student(self.loaded, self.registry, self.components)
        experiment.evaluated_agent = subject_of(self.loaded, self.run, trains=True)
        shown = read_demonstrations(self.folder / DEMONSTRATIONS)
        experiment.demonstrations = Demonstrations(shown)
        experiment.student, note = self._student()
        with RunRecorder(self.run, record_options(self.loaded.recipe)) as recorder:
            recorder.start(
                None if experiment.student is None else experiment.policy,
                portable(expanded(self.loaded, self.registry), self.loaded.folder, self.run.path),
                [STAGE_KEY],
                trains=[STAGE_KEY],
            )
            recorder.emit(NOTE, "", {"text": f"imported from a run of {self.engine}"})
            if note:
                recorder.emit(NOTE, "", {"text": note})
            context = RunContext(recorder, STAGE_KEY, is_first=True)
            context.write_demonstrations(shown)
            reports = self._write_steps(experiment, context)
            self._write_student(experiment, context, reports)

    def _write_steps(self, experiment: Experiment, context: RunContext) -> dict[int, dict[str, dict[str, Json]]]:
        """Write steps and evaluations in the order in which they were made; returns the evaluations' reports."""
        problems = {found.id: found for found in read_records(self.folder / PROBLEMS, Problem)}
        episodes: dict[int, list[PlayedEpisode]] = {}
        for played in self.results.episodes:
            episodes.setdefault(played.step, []).append(played)
        metrics = {step.step: step for step in self.results.steps}
        reports: dict[int, dict[str, dict[str, Json]]] = {}
        for number in sorted({*episodes, *metrics}):
            found = episodes.get(number, [])
            trained = [played for played in found if not played.evaluation]
            if trained or number in metrics:
                context.write_problems(_once(problems, trained))
                context.write_rollouts(number, [played.scored for played in trained])
                values = self._step_metrics(experiment, number, trained)
                if number in metrics:
                    context.emit("engine", step=number, **metrics[number].logged)
                    values |= metrics[number].metrics
                context.emit("step", step=number, **values)
            reports[number] = _write_evaluations(experiment, context, number, found, problems)
        return reports

    def _step_metrics(self, experiment: Experiment, step: int, trained: Sequence[PlayedEpisode]) -> dict[str, Json]:
        """What the episodes of a step say, by the names that a run here has for it."""
        options = self.options
        rate = learning_rate(options.optimizer, min(step, options.steps), options.steps)
        found: dict[str, Json] = {"steps": options.steps, "learning_rate": rate}
        if not trained:
            return found
        scored = [played.scored for played in trained]
        groups = [[played.scored for played in group] for _, group in groupby(trained, lambda played: played.row)]
        return {
            **found,
            **reward_metrics(scored),
            **trajectory_metrics([item.trajectory for item in scored], experiment.demonstrations),
            "zero_variance_groups": sum(map(has_zero_variance, groups)) / len(groups),
        }

    def _student(self) -> tuple[LoadedStudent | None, str]:
        """The trained student on the recipe's backend, and a note where there is none."""
        results = self.results
        if results.student is None and results.adapter is None:
            return None, f"{self.engine} has left no final weights: the run has no student"
        context = self.components.context
        recipe = self.loaded.recipe
        base = student_spec(self.loaded, self.registry, context)
        if results.student is not None:
            spec = StudentSpec(str(results.student.resolve()))
        else:
            assert base.adapter is not None, "an adapter is of a recipe with one"
            assert results.adapter is not None, "neither whole weights nor an adapter"
            spec = replace(base, adapter=replace(base.adapter, path=results.adapter.resolve()))
        try:
            backend = backend_of(recipe, self.registry, context)
            policy = backend.load(spec, recipe.seed)
        except MissingError as error:
            return (
                None,
                f"no checkpoint has the weights, as this machine has no backend for them: {error.message}",
            )
        chat_format = student_format(self.loaded, self.registry, base)
        return LoadedStudent(policy, chat_format, backend.export_formats), ""

    def _write_student(
        self, experiment: Experiment, context: RunContext, reports: Mapping[int, dict[str, dict[str, Json]]]
    ) -> None:
        """Write the final weights as a checkpoint and as the run's student; without a backend as they are."""
        step = self.results.weights_step
        if experiment.student is not None:
            context.checkpoint(step, {"step": step}, metrics=checkpoint_metrics(reports.get(step, {})))
            experiment.describe_export = card_writer(
                experiment, self.loaded, self.components, self.registry, Run(self.run)
            )
            self.run.write_folder("student", experiment.export)
        elif self.results.student is not None:
            whole = self.results.student
            self.run.write_folder("student", lambda new: _copy(whole, new))


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


def _engine_of(folder: Path) -> ComponentSpec:
    """The engine that a folder was exported for.

    Raises:
        UsageError: it is no such folder.
    """
    try:
        return ComponentSpec.model_validate(json.loads((folder / MANIFEST).read_bytes())["engine"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise UsageError(
            f"{folder} is no exported run: {MANIFEST} cannot be read ({type(error).__name__})",
            hint="give the folder that `mentorkit export-run` wrote",
        ) from None


def _write_evaluations(
    experiment: Experiment,
    context: RunContext,
    step: int,
    found: Sequence[PlayedEpisode],
    problems: Mapping[str, Problem],
) -> dict[str, dict[str, Json]]:
    """Write the evaluations after a step; returns their reports by name."""
    reports: dict[str, dict[str, Json]] = {}
    plans, files = experiment.evaluation.on, UniqueNames()
    for plan, name in zip(plans, plan_names(plans), strict=True):
        own = [played for played in found if played.evaluation == name]
        if not isinstance(plan, SplitPlan) or not own:
            continue
        greedy = [played.scored for played in own if played.greedy]
        sampled = [played.scored for played in own if not played.greedy]
        of_split = _once(problems, own)
        # those of a problem next to each other
        order = {problem.id: place for place, problem in enumerate(of_split)}
        sampled.sort(key=lambda item: order[item.trajectory.problem_id])
        scored: list[Scored] = [*greedy, *sampled]
        episodes = EvaluationEpisodes([item.trajectory for item in greedy], [item.trajectory for item in sampled])
        context.write_problems(of_split)
        result = split_result(experiment, plan, of_split, episodes, scored)
        reports[name] = write_result(experiment, context, step, name, files.add(file_name(name)), result)
    return reports


def _once(problems: Mapping[str, Problem], played: Sequence[PlayedEpisode]) -> list[Problem]:
    """The problems of episodes, each once, in order.

    Raises:
        DataError: one is none of the export's.
    """
    found: dict[str, Problem] = {}
    for one in played:
        name = one.scored.trajectory.problem_id
        if name not in problems:
            raise DataError(f"an episode is of problem {name!r}, which is none of the exported ones")
        found[name] = problems[name]
    return list(found.values())
