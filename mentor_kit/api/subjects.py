"""Who is evaluated, and on what: recipes whose only stage evaluates the student, a run's student, or another agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from mentor_kit.api.single_stage import with_stage
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import UsageError
from mentor_kit.core.explanation import explain
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.model import Recipe, Student
from mentor_kit.recipe.settings import Settings, combine
from mentor_kit.recipe.source import Path_, Place
from mentor_kit.report.arms import training_steps
from mentor_kit.runs import Checkpoint, Checkpoints, Keep, Run, RunFolder
from mentor_kit.stages.evaluated_agent import EvaluatedAgent
from mentor_kit.stages.evaluation_plan import DEFAULT_SPLITS, SplitPlan
from mentor_kit.utils.paths import expanded_path, tilde_path

#: The name under which the recipe's own teacher is evaluated.
OWN_TEACHER = "teacher"
#: Overrides that would take the agent's place.
_WITH_AGENT = ("evaluate", "evaluate.agent")


def check_subject(student: object, trained: object, checkpoint: str, agent: object) -> None:
    """Refuse arguments that contradict each other about who is evaluated.

    Raises:
        UsageError: more than one of the three is given, or a checkpoint without a run.
    """
    given = [name for name, value in (("student", student), ("run", trained), ("agent", agent)) if value is not None]
    if len(given) > 1:
        raise UsageError(
            f"{' and '.join(f'`--{name}`' for name in given)} each name who is evaluated", hint="give one of them"
        )
    if trained is None and checkpoint != "last":
        raise UsageError(
            f"checkpoint {checkpoint!r}: no run is named",
            hint="name the run that has it: `--run RUN`; from Python, `trained`",
        )


def with_student(overrides: Mapping[str, Json], student: str | Path) -> Mapping[str, Json]:
    """Overrides that evaluate another student: a folder, wherever the recipe's is, or a hub id."""
    folder = Path(student)
    return combine(overrides, {"student.model": str(folder.resolve() if folder.is_dir() else student)})


def with_agent(overrides: Mapping[str, Json], agent: ComponentSpec | None) -> Mapping[str, Json]:
    """Overrides that evaluate an agent: it is named after those of all `evaluate`, before those of its options."""
    if agent is None or agent == ComponentSpec(use=OWN_TEACHER):
        return overrides
    if agent.use == OWN_TEACHER:
        raise UsageError(
            "the recipe's own teacher takes no options here", hint="override them in the recipe: teacher.KEY"
        )
    place = max((place for place, key in enumerate(overrides, 1) if key in _WITH_AGENT), default=0)
    items = list(overrides.items())
    used = {"evaluate.agent.use": agent.use}
    options = {f"evaluate.agent.with.{key}": value for key, value in agent.options.items()}
    combined = combine(dict(items[:place]), used, dict(items[place:]), options)
    if isinstance(overrides, Settings):
        combined.places |= {key: given for key, given in overrides.places.items() if key not in options}
    return combined


def with_own_teacher(loaded: LoadedRecipe) -> LoadedRecipe:
    """The recipe with its own teacher in the student's place.

    Raises:
        UsageError: it has none.
    """
    recipe = loaded.recipe
    if recipe.teacher is None:
        raise UsageError(
            "the recipe has no teacher to evaluate", hint="name one, such as --agent openai, or add it to the recipe"
        )
    plan = recipe.evaluate.model_copy(update={"agent": recipe.teacher})
    return replace(loaded, recipe=recipe.model_copy(update={"evaluate": plan}))


def with_checkpoint(loaded: LoadedRecipe, run: Run, checkpoint: str, registry: Registry) -> LoadedRecipe:
    """The recipe with the student that a run had at a checkpoint.

    Raises:
        UsageError: there is no such checkpoint.
        RecipeError: the run's recipe cannot be read any more.
    """
    trained = load_checked(run.folder.recipe, {}, registry)
    found = find_checkpoint(run, trained.recipe, checkpoint)
    student = _placed(trained.recipe.student, trained.folder)
    changes: dict[str, object] = {"student": student.model_copy(update={"checkpoint": str(found.path.resolve())})}
    if loaded.recipe.backend.use != trained.recipe.backend.use:
        # a checkpoint is its backend's own
        changes["backend"] = trained.recipe.backend
    return replace(loaded, recipe=loaded.recipe.model_copy(update=changes))


def _placed(student: Student, folder: Path) -> Student:
    """The student with paths that do not depend on the folder of its recipe."""

    def absolute(name: str | None) -> str | None:
        if not name or "\n" in name or not (place := folder / expanded_path(name)).exists():
            return name
        return str(place.resolve())

    adapter = student.adapter
    if adapter is not None and adapter.options.path is not None:
        options = adapter.options.model_copy(update={"path": absolute(adapter.options.path)})
        adapter = adapter.model_copy(update={"options": options})
    changes = {"model": absolute(student.model), "chat_template": absolute(student.chat_template), "adapter": adapter}
    return student.model_copy(update=changes)


def kept(recipe: Recipe) -> Keep:
    """Which checkpoints a recipe keeps, and what the best one is."""
    wanted = recipe.checkpoints
    return Keep(last=wanted.keep_last, metric=wanted.best or "", mode=wanted.mode)


def find_checkpoint(run: Run, recipe: Recipe, name: str) -> Checkpoint:
    """A run's checkpoint: `last`, `best`, or the name of its folder.

    Raises:
        UsageError: there is none.
    """
    return Checkpoints(run.folder.checkpoints, kept(recipe)).find(name)


def with_evaluation(loaded: LoadedRecipe, on: Sequence[SplitPlan], changes: Mapping[str, Json]) -> LoadedRecipe:
    """The recipe whose only stage evaluates on these splits, or on the recipe's own, with changes to each.

    Raises:
        UsageError: the changes are no fields of `SplitPlan`, or do not go together.
    """
    stage = _evaluation_stage(loaded.recipe, on, changes)
    places: dict[Path_, Place] = {}
    for index in range(len(on or loaded.recipe.evaluate.on)):
        named_at = Place("--split") if on else loaded.source.place(("evaluate", "on", index, "split"))
        places["train", 0, "with", "on", index, "split"] = named_at
    return with_stage(loaded, stage, places)


def subject_of(loaded: LoadedRecipe, folder: RunFolder, *, trains: bool) -> EvaluatedAgent:
    """The agent that a run evaluates, for its reports.

    Args:
        loaded: the run's recipe.
        folder: the run's.
        trains: whether the run trains it.
    """
    recipe = loaded.recipe
    model = recipe.student.model
    if Path(model).is_absolute():
        model = tilde_path(Path(model))
    if trains:
        return EvaluatedAgent(kind="run", name=recipe.name, model=model, run=folder.key, seed=recipe.seed)
    if recipe.student.checkpoint is not None:
        place = loaded.folder / expanded_path(recipe.student.checkpoint)
        if (place.parents[1] / "recipe.yaml").is_file():
            found = Checkpoint.read(place)
            other = Run(place.parents[1])
            return _of_run(other, place.name, training_steps(other, found.stage, found.step))
    place = (loaded.folder / expanded_path(model)).resolve()
    if place.name == "student" and (place.parent / "recipe.yaml").is_file():
        other = Run(place.parent)
        return _of_run(other, place.name, training_steps(other))
    return EvaluatedAgent(kind="model", name=place.name if place.is_dir() else model, model=model)


def _of_run(run: Run, checkpoint: str, steps: int) -> EvaluatedAgent:
    """The student that a run had after so many steps."""
    student = run.recipe.get("student") or {}
    return EvaluatedAgent(
        kind="checkpoint",
        name=run.name,
        model=student.get("model"),
        run=run.folder.key,
        checkpoint=checkpoint,
        steps=steps,
        seed=run.seed,
    )


def _evaluation_stage(recipe: Recipe, on: Sequence[SplitPlan], changes: Mapping[str, Json]) -> ComponentSpec:
    """The stage `evaluate`; as for `with_evaluation`."""
    plans = on or recipe.evaluate.on or DEFAULT_SPLITS
    found = []
    for plan in plans:
        if not isinstance(plan, SplitPlan):
            found.append(plan.model_dump(by_alias=True))
            continue
        wanted = plan.model_dump() | dict(changes)
        try:
            changed = SplitPlan.model_validate(wanted)
        except ValidationError as error:
            faults = "; ".join(text for _, text in explain(error, SplitPlan, wanted))
            raise UsageError(f"{plan.split}: {faults}") from None
        found.append(changed.model_dump())
    return ComponentSpec(use="evaluate", options={"on": found})
