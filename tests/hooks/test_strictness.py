"""Options of every part and every key of a recipe: true is no number, numbers are finite, unknown keys are faults."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import pluggy
import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import PluginError
from mentor_kit.core.secret import Secret
from mentor_kit.hooks import Plugins, Registry, hookimpl
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.options import validated
from mentor_kit.hooks.registry import KINDS
from mentor_kit.recipe.model import Recipe

Place = tuple[str | int, ...]


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inside in get_args(annotation):
        yield from models(inside)


def leaves(annotation: Any) -> set[Any]:
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    if get_origin(annotation) is Annotated:
        return leaves(get_args(annotation)[0])
    inside = get_args(annotation)
    return {leaf for one in inside for leaf in leaves(one)} if inside else {annotation}


def all_models() -> dict[type[BaseModel], str]:
    """Every model that a recipe is made of, with a name for the test."""
    registry, found = default_registry(), {Recipe: "recipe"}
    waiting = [Recipe]
    for kind in KINDS:
        for name, part in registry.components(kind).items():
            if part.options not in found:
                found[part.options] = f"{kind} {name}"
                waiting.append(part.options)
    while waiting:
        model = waiting.pop()
        for field in model.model_fields.values():
            for inside in models(field.annotation):
                if inside not in found:
                    found[inside] = f"{found[model]}: {inside.__name__}"
                    waiting.append(inside)
    return found


MODELS = all_models()
NUMBERS = [
    (model, key, leaves(field.annotation))
    for model in MODELS
    for name, field in model.model_fields.items()
    for key in [field.alias or name]
    if get_origin(field.annotation) not in (tuple, list, dict) and leaves(field.annotation) & {int, float}
]


def places(model: type[BaseModel], data: Any) -> set[Place]:
    return {place for place, _ in validated(model, data)[1]}


def test_there_are_many() -> None:
    assert len(MODELS) > 60
    assert len(NUMBERS) > 150


@pytest.mark.parametrize(("model", "key", "kinds"), NUMBERS, ids=[f"{MODELS[m]} {key}" for m, key, _ in NUMBERS])
def test_a_number_is_a_finite_number(model: type[BaseModel], key: str, kinds: set[Any]) -> None:
    wrong: list[Any] = [math.nan, math.inf, -math.inf, 10**400, -(10**400), 1e30, -1e30]
    if bool not in kinds:
        wrong += [True, False]
    for value in wrong:
        assert any(place[:1] == (key,) for place in places(model, {key: value})), value


@pytest.mark.parametrize(("model", "key", "kinds"), NUMBERS, ids=[f"{MODELS[m]} {key}" for m, key, _ in NUMBERS])
def test_a_number_is_no_string(model: type[BaseModel], key: str, kinds: set[Any]) -> None:
    for value in ("1", "1.0", "1e-4"):
        assert any(place[:1] == (key,) for place in places(model, {key: value})), value


#: Where less than nothing has a meaning: what a wrong answer costs.
PENALTIES = {"no_answer", "not_ended", "right", "wrong", "otherwise", "weight", "when_wrong"}


@pytest.mark.parametrize(("model", "key", "kinds"), NUMBERS, ids=[f"{MODELS[m]} {key}" for m, key, _ in NUMBERS])
def test_less_than_nothing_is_for_penalties_alone(model: type[BaseModel], key: str, kinds: set[Any]) -> None:
    assert key in PENALTIES or any(place[:1] == (key,) for place in places(model, {key: -1}))


@pytest.mark.parametrize("model", MODELS, ids=MODELS.values())
def test_models_themselves_take_finite_numbers_alone(model: type[BaseModel]) -> None:
    """From Python, options are made without a registry."""
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) in (tuple, list, dict) or float not in leaves(field.annotation):
            continue
        for value in (math.nan, math.inf):
            with pytest.raises(ValidationError) as caught:
                model.model_validate({field.alias or name: value})
            assert any((field.alias or name) in error["loc"] for error in caught.value.errors()), (name, value)


@pytest.mark.parametrize("model", MODELS, ids=MODELS.values())
def test_a_key_that_nobody_reads_is_a_fault(model: type[BaseModel]) -> None:
    assert ("no_such_key",) in places(model, {"no_such_key": 1})


class Inner(BaseModel):
    size: float = 1.0
    on: bool = False


class Theirs(BaseModel):
    """Options as a stranger writes them, without forbidding anything."""

    count: int = Field(default=3, alias="n")
    rates: list[float] = []
    by_name: dict[str, float] = {}
    pair: tuple[int, float] = (1, 2.0)
    inner: Inner = Inner()
    inners: list[Inner] = []
    either: bool | int = 1
    auto: float | Literal["auto"] = "auto"
    maybe: Annotated[float | None, Field(gt=0)] = None
    name_or_count: str | int = 1
    anything: Any = None


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        ({}, set()),
        ({"n": 5, "rates": [1, 2.5], "by_name": {"a": 1}, "pair": [1, 2], "either": True, "auto": 3}, set()),
        ({"inner": {"size": 2, "on": True}, "inners": [{"size": 1}], "anything": [math.nan, True]}, set()),
        ({"n": True}, {("n",)}),
        ({"rates": [1, False]}, {("rates", 1)}),
        ({"rates": [math.inf]}, {("rates", 0)}),
        ({"by_name": {"a": math.nan}}, {("by_name", "a")}),
        ({"pair": [1, True]}, {("pair", 1)}),
        ({"pair": [True, 1.0]}, {("pair", 0)}),
        ({"inner": {"size": True}}, {("inner", "size")}),
        ({"inner": {"sise": 1}}, {("inner", "sise")}),
        ({"inners": [{}, {"size": math.nan}]}, {("inners", 1, "size")}),
        ({"auto": True}, {("auto",)}),
        ({"auto": math.nan}, {("auto",)}),
        ({"maybe": math.inf}, {("maybe",)}),
        ({"m": 1}, {("m",)}),
        ({"n": "5"}, {("n",)}),
        ({"rates": [1, "2"]}, {("rates", 1)}),
        ({"by_name": {"a": "1e-4"}}, {("by_name", "a")}),
        ({"inner": {"size": "1"}}, {("inner", "size")}),
        ({"auto": "auto"}, set()),
        ({"auto": "3"}, {("auto",)}),
        ({"auto": 1e16}, {("auto",)}),
        ({"maybe": "1"}, {("maybe",)}),
        ({"name_or_count": "3"}, set()),
        ({"maybe": Secret("1.5", "${env:RATE}")}, set()),
    ],
)
def test_a_strangers_options_are_held_to_the_same(data: dict[str, Any], wrong: set[Place]) -> None:
    assert places(Theirs, data) == wrong


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


def test_options_that_are_meant_to_be_open_are() -> None:
    assert places(Open, {"whatever": 1}) == set()


class WrongDefault(BaseModel):
    words: int = "many"  # type: ignore[assignment]


def test_a_default_that_is_none_is_its_plugins_fault() -> None:
    class Plugin:
        @hookimpl
        def register_reward_terms(self, register: Any) -> None:
            register("theirs", options=WrongDefault, build=lambda options, context: None)

    from mentor_kit.hooks import specs

    manager = pluggy.PluginManager("mentorkit")
    manager.add_hookspecs(specs)
    manager.register(Plugin(), name="stranger")
    registry = Registry(Plugins(manager, ()))
    with pytest.raises(PluginError) as error:
        registry.check("reward_terms", ComponentSpec(use="theirs"))
    assert all(word in error.value.message for word in ("stranger", "theirs", "words", "many"))
