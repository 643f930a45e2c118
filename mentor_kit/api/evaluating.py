"""Evaluates a recipe's student, a run's, or another agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.checking import check
from mentor_kit.api.locations import RUNS, find_run
from mentor_kit.api.running import run
from mentor_kit.api.subjects import (
    OWN_TEACHER,
    check_subject,
    with_agent,
    with_checkpoint,
    with_evaluation,
    with_own_teacher,
    with_student,
)
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import UsageError
from mentor_kit.core.explanation import explain
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.hooks.tracker import Tracker
from mentor_kit.recipe.loading import RecipeLike
from mentor_kit.recipe.python_values import NO_OVERRIDES, as_data, checked_overrides
from mentor_kit.report.parquet import write_outcomes
from mentor_kit.runs import Run
from mentor_kit.stages import SplitPlan


@checked_arguments
def evaluate(
    recipe: RecipeLike,
    *,
    overrides: Mapping[str, Any] = NO_OVERRIDES,
    on: Sequence[SplitPlan | str] = (),
    changes: Mapping[str, Json] = NO_OVERRIDES,
    student: str | Path | None = None,
    trained: str | Path | Run | None = None,
    checkpoint: str = "last",
    agent: str | Mapping[str, Any] | ComponentSpec | None = None,
    output: str | Path = RUNS,
    trackers: Sequence[Tracker] = (),
    registry: Registry | None = None,
) -> Run:
    """Evaluate a recipe's student, or another agent on its task: a run whose only stage is `evaluate`.

    Args:
        recipe: as for `run`.
        overrides: as for `run`.
        on: the splits, as plans or by name; the recipe's own if left out.
        changes: fields of `SplitPlan` to change in all of them, such as `{"samples": 8}`.
        student: another student: a folder, or a hub id.
        trained: a run whose student is evaluated: its folder, `name/id`, or a recipe's name for its newest run that
            has a checkpoint.
        checkpoint: which of that run's: `last`, `best`, or the name of a folder under `checkpoints/`.
        agent: a teacher in the student's place, such as `openai` or `{"use": "openai", "with": {"model": "x"}}`;
            `teacher` is the recipe's own.
        output: as for `run`.
        trackers: as for `run`.
        registry: as for `run`.

    Raises:
        UsageError: the arguments contradict each other, or there is no such run or checkpoint.
        RecipeError: the recipe is wrong.
    """
    registry = registry or default_registry()
    check_subject(student, trained, checkpoint, agent)
    spec = agent_spec(agent)
    settings = with_agent(checked_overrides(overrides), spec)
    if student is not None:
        settings = with_student(settings, student)
    loaded = check(recipe, overrides=settings, look=False, registry=registry)
    if trained is not None:
        loaded = with_checkpoint(
            loaded, find_run(trained, output, lambda run: run.has_checkpoint), checkpoint, registry
        )
    if spec is not None and spec.use == OWN_TEACHER:
        loaded = with_own_teacher(loaded)
    plans = [SplitPlan(split=plan) if isinstance(plan, str) else plan for plan in on]
    loaded = with_evaluation(loaded, plans, checked_overrides(changes))
    done = run(loaded, output=output, trackers=trackers, registry=registry)
    write_outcomes(done)
    return done


def agent_spec(agent: str | Mapping[str, Any] | ComponentSpec | None) -> ComponentSpec | None:
    """The agent that a caller names, as a component.

    Raises:
        UsageError: it is neither a name nor a component's data.
    """
    if agent is None or isinstance(agent, ComponentSpec):
        return agent
    given = agent if isinstance(agent, str) else as_data(agent)
    try:
        return ComponentSpec.model_validate(given)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, ('agent', *place)))}: {text}" for place, text in explain(error, ComponentSpec, given)
        )
        raise UsageError(faults, hint='give a name, or {"use": name, "with": {options}}') from None
