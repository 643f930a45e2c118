"""Opens a chat with a run's student, a recipe's untrained one, or a teacher."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.chat_events import Note, Show
from mentor_kit.api.chat_session import ChatSession
from mentor_kit.api.chat_side import Side
from mentor_kit.api.checking import check, load_served
from mentor_kit.api.evaluating import agent_spec
from mentor_kit.api.locations import RUNS, find_run, folder_path, is_own_recipe
from mentor_kit.api.subjects import OWN_TEACHER, find_checkpoint, with_checkpoint
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.demonstration import Demonstrations
from mentor_kit.core.errors import UsageError, did_you_mean
from mentor_kit.core.posix import require_posix
from mentor_kit.core.teacher import Teacher
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import ComponentError, Registry
from mentor_kit.recipe.assembly import Components, assemble, assemble_components, assemble_without_student
from mentor_kit.recipe.attribution import attributed
from mentor_kit.recipe.loading import LoadedRecipe, RecipeLike, recipe_names
from mentor_kit.recipe.python_values import NO_OVERRIDES
from mentor_kit.rollout.episode import outside_event_loop
from mentor_kit.runs import Run
from mentor_kit.stages import Experiment

#: The student before training, as `against` names it.
UNTRAINED = "untrained"
STUDENT = "student"


@checked_arguments
def chat(
    subject: RecipeLike | Run,
    show: Show,
    *,
    overrides: Mapping[str, Any] = NO_OVERRIDES,
    checkpoint: str = "last",
    untrained: bool = False,
    agent: str | Mapping[str, Any] | ComponentSpec | None = None,
    against: str | Path | Run | None = None,
    temperature: float | None = None,
    seed: int = 0,
    output: str | Path = RUNS,
    registry: Registry | None = None,
) -> ChatSession:
    """Open a chat; close it at the end, or use it in a `with` block.

    Args:
        subject: a run (its folder, `name/id`, or a name for its newest run with a checkpoint), or else a recipe, as for
            `run`, whose student is untrained.
        show: called with every event, such as a piece of an answer; see `mentor_kit.api.chat_events`.
        overrides: as for `run`.
        checkpoint: which of the run's: `last`, `best`, or the name of a folder under `checkpoints/`.
        untrained: the student as it was before the run.
        agent: a teacher in the student's place, as for `evaluate`; the student is not loaded then.
        against: who answers beside: `teacher`, `untrained`, or another run.
        temperature: of students; the recipe's `rollout.temperature` if left out. 0 is greedy.
        seed: of all draws.
        output: the folder of all runs.
        registry: the plugins to use.

    Raises:
        UsageError: the arguments contradict each other, or there is no such run or checkpoint.
        RecipeError: the recipe is wrong.
        MissingError: this is Windows, outside WSL.
        MentorKitError: a model or a component cannot be loaded here.
    """
    require_posix("a chat")
    registry = registry or default_registry()
    run = _run_of(subject, output)
    trained = run is not None and not untrained and agent is None
    _check(trained=trained, untrained=untrained, checkpoint=checkpoint, agent=agent, against=against)
    other = against if against in (None, OWN_TEACHER, UNTRAINED) else _with_checkpoint(against, output)
    recipe: RecipeLike = run.folder.recipe if run is not None else subject  # type: ignore[assignment]
    base = check(recipe, overrides=overrides, registry=registry)
    base = replace(base, recipe=base.recipe.model_copy(update={"student": _fresh(base)}))
    loaded = base
    if run is not None and trained:
        loaded = with_checkpoint(base, run, checkpoint, registry)
    if agent is None:
        load_served(loaded, registry)
    with ExitStack() as stack:
        runner = asyncio.Runner()
        stack.callback(outside_event_loop, runner.close)
        with attributed(loaded, registry):
            components = assemble_components(loaded, registry)
            stack.callback(components.close)
            opening = _Opening(base, registry, components, show, seed, temperature, stack, runner)
            experiment = opening.experiment(loaded if agent is None else None)
            if experiment.teacher is not None:
                stack.callback(experiment.teacher.close)
            if run is not None:
                experiment.demonstrations = Demonstrations(run.demonstrations())
            if agent is None:
                sides = [opening.student(STUDENT, experiment, _described(loaded, run, untrained, checkpoint))]
            else:
                sides = [opening.teacher(experiment, agent_spec(agent))]
            if other is not None:
                sides.append(opening.opponent(experiment, other))
            session = ChatSession(
                experiment,
                sides,
                show,
                seed=seed,
                resources=stack,
                runner=runner,
                attribution=lambda: attributed(loaded, registry),
            )
            session.resources = stack.pop_all()  # from now on they are the chat's to close
            return session


class _Opening:
    """Loads those who answer."""

    def __init__(
        self,
        base: LoadedRecipe,
        registry: Registry,
        components: Components,
        show: Show,
        seed: int,
        temperature: float | None,
        stack: ExitStack,
        runner: asyncio.Runner,
    ) -> None:
        self._base = base
        self._registry = registry
        self._components = components
        self._show = show
        self._seed = seed
        self._temperature = temperature
        self._stack = stack
        self._runner = runner

    def experiment(self, loaded: LoadedRecipe | None) -> Experiment:
        """The experiment, with the student of a recipe, or without one."""
        if loaded is None:
            return assemble_without_student(self._base, self._registry, self._components)
        self._show(Note(text=f"loading {loaded.recipe.student.model} …"))
        return assemble(loaded, self._registry, self._components)

    def student(self, name: str, experiment: Experiment, description: str) -> Side:
        """The student of an experiment."""
        # turns wait for nobody, so that the event loop can show tokens and stop a turn between two of them
        free = replace(experiment, deterministic=False)
        side = Side(
            name,
            free.student_agent(experiment.sampling),
            experiment,
            self._show,
            seed=self._seed,
            description=description,
        )
        if self._temperature is not None:
            side.set_temperature(self._temperature)
        return side

    def teacher(self, experiment: Experiment, spec: ComponentSpec | None) -> Side:
        """A teacher, or the recipe's own.

        Raises:
            UsageError: there is none, or it has demonstrations only.
        """
        own = spec is None or spec.use == OWN_TEACHER
        try:
            teacher: Teacher = experiment.teacher_of(None if own else spec)
        except ComponentError as error:
            # it is no place of the recipe: the caller gave it
            faults = "; ".join(f"{'.'.join(map(str, place))}: {text}" for place, text in error.faults)
            raise UsageError(
                f"agent {faults}",
                hint=f"options are given by --with KEY=VALUE; `mentorkit plugins teachers {spec.use}` lists them"
                if spec is not None and self._registry.has("teachers", spec.use)
                else None,
            ) from None
        if not teacher.has_agent:
            raise UsageError(
                f"the teacher {teacher.name!r} has demonstrations only, and answers nothing",
                hint="/problem shows them; teachers that answer: openai, anthropic, local",
            )
        self._stack.callback(teacher.close)
        opened = teacher.open_agent()
        agent = outside_event_loop(lambda: self._runner.run(opened.__aenter__()))
        self._stack.callback(outside_event_loop, lambda: self._runner.run(_leave(opened)))
        name = OWN_TEACHER if own else teacher.name
        return Side(
            name,
            agent,
            experiment,
            self._show,
            seed=self._seed,
            description=f"the teacher {teacher.name!r}",
            takes_questions=teacher.takes_questions,
        )

    def opponent(self, experiment: Experiment, against: str | Path | Run) -> Side:
        """Who answers beside the first one: `teacher`, `untrained`, or a run."""
        if against == OWN_TEACHER:
            return self.teacher(experiment, None)
        if against == UNTRAINED:
            return self.student(UNTRAINED, self.experiment(self._base), _described(self._base, None, True, ""))
        run = against if isinstance(against, Run) else Run(Path(against))
        loaded = with_checkpoint(self._base, run, "last", self._registry)
        name = run.folder.key
        return self.student(name, self.experiment(loaded), _described(loaded, run, False, "last"))


def _check(*, trained: bool, untrained: bool, checkpoint: str, agent: object, against: object) -> None:
    """Refuse arguments that contradict each other.

    Raises:
        UsageError: they do.
    """
    if agent is not None and untrained:
        raise UsageError("`--agent` and `--untrained` each name who answers", hint="give one of them")
    if checkpoint != "last" and not trained:
        raise UsageError(
            f"checkpoint {checkpoint!r}: no run's student was asked for",
            hint="name a run: `mentorkit runs` lists them; without --untrained and --agent",
        )
    if against == UNTRAINED and not trained and agent is None:
        raise UsageError("the student is untrained itself", hint="chat with a run, or name one: --against RUN")


async def _leave(opened: Any) -> None:
    await opened.__aexit__(None, None, None)


def _run_of(subject: RecipeLike | Run, output: str | Path) -> Run | None:
    """The run that a caller names; None where it names a recipe.

    Raises:
        UsageError: it names neither.
    """
    if isinstance(subject, Run):
        return subject
    if not isinstance(subject, str | Path) or str(subject) in ("", "-"):
        return None
    if is_own_recipe(Path(subject) / "recipe.yaml"):
        return Run(Path(subject))
    inside = folder_path(output) / subject
    if Path(subject).exists():
        return None
    if not inside.is_dir():
        if str(subject) not in recipe_names():
            raise UsageError(
                f"there is no run and no recipe {str(subject)!r}{did_you_mean(str(subject), recipe_names())}",
                hint=f"`mentorkit runs` lists the runs in {output}, `mentorkit plugins recipes` the recipes; "
                "or give a run's folder or a recipe's file",
            )
        return None
    run = _with_checkpoint(subject, output)
    return run if run.has_checkpoint or is_own_recipe(inside / "recipe.yaml") else None


def _with_checkpoint(run: str | Path | Run, output: str | Path) -> Run:
    """The run that a caller names; by a name, the newest that has a checkpoint."""
    return find_run(run, output, lambda found: found.has_checkpoint)


def _fresh(loaded: LoadedRecipe) -> Any:
    """The student of a recipe before training."""
    return loaded.recipe.student.model_copy(update={"checkpoint": None})


def _described(loaded: LoadedRecipe, run: Run | None, untrained: bool, checkpoint: str) -> str:
    model = loaded.recipe.student.model
    if run is None or untrained:
        return f"{model}, untrained"
    found = find_checkpoint(run, loaded.recipe, checkpoint)
    return f"{model}, run {run.folder.key}, checkpoint {found.path.name}"
