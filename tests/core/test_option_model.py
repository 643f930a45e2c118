"""Options built in Python: the first wrong call is a `MentorKitError` that names the class and the key."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Annotated, Any, Literal

import mentor_kit_rewards
import pytest
from pydantic import BaseModel, Field, ValidationError

import mentor_kit.stages
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.component import ComponentSpec, Kind
from mentor_kit.core.errors import MentorKitError, UsageError
from mentor_kit.core.option_model import OptionModel
from mentor_kit.hooks import default_registry
from mentor_kit.rl.objective import ObjectiveSpec
from mentor_kit.rl.reward import RewardSpec, Schedule
from mentor_kit.stages.evaluation_plan import EvaluationPlan, SplitPlan
from mentor_kit.stages.grpo_options import GRPOOptions


@pytest.mark.parametrize(
    ("build", "places"),
    [
        (lambda: ComponentSpec(use=5), ["ComponentSpec.use"]),
        (lambda: SplitPlan(split=3, problems=0), ["SplitPlan.split", "SplitPlan.problems"]),
        (lambda: EvaluationPlan(evry=2), ["EvaluationPlan.evry"]),  # type: ignore[call-arg]
        (lambda: ObjectiveSpec(kl=-1.0), ["ObjectiveSpec.kl"]),
        (lambda: OptimizerSpec(use="none"), ["OptimizerSpec.use"]),
        (lambda: Schedule(over=(1.0, 0.0)), ["Schedule"]),
        (lambda: RewardSpec(terms={"match": -1}), ["RewardSpec.terms"]),
        (lambda: GRPOOptions(), ["GRPOOptions.steps", "GRPOOptions.optimizer"]),  # type: ignore[call-arg]
        (lambda: ComponentSpec("grpo"), ["ComponentSpec"]),  # type: ignore[call-arg,misc]
    ],
)
def test_invalid_options_are_usage_errors_that_name_the_class_and_the_keys(
    build: Callable[[], object], places: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        build()
    assert all(place in caught.value.message for place in places)


def test_a_value_of_none_of_several_types_is_one_fault_without_pydantics_words() -> None:
    class Budget(OptionModel):
        tokens: Literal["auto"] | Annotated[int, Field(gt=0)] = "auto"
        inner: dict[str, list[int]] = {}

    with pytest.raises(UsageError) as caught:
        Budget(tokens="x", inner={"a": [1, "y"]})  # type: ignore[arg-type,list-item]
    assert caught.value.message == (
        "Budget.tokens: must be 'auto' or a whole number, not 'x'; Budget.inner.a.1: must be a whole number, not 'y'"
    )


def test_data_from_files_raise_pydantics_own_error_with_its_places() -> None:
    with pytest.raises(ValidationError) as caught:
        SplitPlan.model_validate({"split": "in-domain", "problems": 0})
    assert [fault["loc"] for fault in caught.value.errors()] == [("problems",)]
    with pytest.raises(ValidationError) as caught:
        EvaluationPlan.model_validate({"on": [{"use": 5}], "every": "x"})
    assert ("every",) in [fault["loc"] for fault in caught.value.errors()]


def test_nested_options_inside_a_built_one_are_named_by_their_place() -> None:
    with pytest.raises(UsageError, match=r"RewardSpec\.gates"):
        RewardSpec(gates=[{"use": "format", "without": "x"}])


def test_reading_a_file_does_not_build_nested_options_through_the_class() -> None:
    """pydantic calls a class for each nested value only where the class has an `__init__` of its own, which is slow."""
    for model in _option_models():
        assert not getattr(model, "__pydantic_custom_init__", False), model


def test_all_registered_options_of_this_repository_are_option_models() -> None:
    registry = default_registry()
    kinds: tuple[Kind, ...] = ("backends", "tools", "tasks", "teachers", "reward_terms", "rewards", "losses", "stages")
    found = {component.options for kind in kinds for component in registry.components(kind).values()}
    ours = {model for model in found if model.__module__.startswith(("mentor_kit", "mentor_kit_"))}
    assert len(ours) > 20
    for model in ours:
        assert issubclass(model, OptionModel), model
        with pytest.raises(MentorKitError):
            model(no_option_has_this_name=1)


def _option_models() -> list[type[BaseModel]]:
    """All option models that stages and rewards define, and their bases' other subclasses that are imported."""
    for package in (mentor_kit.stages, mentor_kit_rewards):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    found: list[type[Any]] = [OptionModel]
    for model in found:
        found += model.__subclasses__()
    return found
