"""Settings of the command line, against a twin that assigns by Python's own indexing."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe_helpers import write

from mentor_kit.core.errors import RecipeError
from mentor_kit.recipe.settings import apply_overrides, parse_settings
from mentor_kit.recipe.source import Source, read_source

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, min_size=1),
)


def apply(data: Any, *settings: str) -> Any:
    source = Source(copy.deepcopy(data))
    for setting in settings:
        apply_overrides(source, parse_settings([setting]))
    return source.data


@given(st.dictionaries(st.sampled_from("abc"), TREES, min_size=1), st.data(), LEAVES | st.lists(LEAVES))
def test_an_existing_value_is_replaced_and_nothing_else(data: dict[str, Any], draw: st.DataObject, value: Any) -> None:
    twin: Any = copy.deepcopy(data)
    node, path = twin, []
    while True:
        key = draw.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        path.append(key)
        if not isinstance(node[key], dict | list) or draw.draw(st.booleans()):
            node[key] = value
            break
        node = node[key]
    setting = f"{'.'.join(map(str, path))}={json.dumps(value)}"
    assert json.dumps(apply(data, setting)) == json.dumps(twin)


def test_options_that_were_set_before_the_name_stay() -> None:
    """Where there was no component before: the one is as good an order as the other."""
    expected = {"teacher": {"with": {"backend": {"use": "torch", "with": {"memory": 2}}}}}
    settings = ("teacher.with.backend.with.memory=2", "teacher.with.backend.use=torch")
    assert apply({}, *settings) == apply({}, *reversed(settings)) == expected
    assert apply({}, *settings, "teacher.with.backend.use=mlx")["teacher"]["with"]["backend"] == {"use": "mlx"}


SLOT = {"use": "x", "with": {"p": 1}}
REWARD = {"gates": [{"use": "ended", "otherwise": 0}], "terms": [{"use": "right", "weight": 1}]}


@pytest.mark.parametrize(
    ("data", "setting", "result"),
    [
        ({"seed": 0}, "seed=3", {"seed": 3}),
        ({}, "rollout.temperature=1e-6", {"rollout": {"temperature": 1e-6}}),
        ({}, "name=2024-01-31", {"name": "2024-01-31"}),
        ({}, "name=", {"name": None}),
        ({}, "name=a=b", {"name": "a=b"}),
        ({"tools": [1]}, "tools=[{use: x}, y]", {"tools": [{"use": "x"}, "y"]}),
        ({"train": [1, 2, 3]}, "train.-1=9", {"train": [1, 2, 9]}),
        # a component's option, with and without its `with`
        ({"train": [SLOT]}, "train.0.with.p=2", {"train": [{"use": "x", "with": {"p": 2}}]}),
        ({"train": [SLOT]}, "train.0.p=2", {"train": [{"use": "x", "with": {"p": 2}}]}),
        ({"backend": {"use": "x"}}, "backend.device=cpu", {"backend": {"use": "x", "with": {"device": "cpu"}}}),
        ({"task": {"use": "x", "with": None}}, "task.p=2", {"task": {"use": "x", "with": {"p": 2}}}),
        ({"task": "x"}, "task.p=2", {"task": {"use": "x", "with": {"p": 2}}}),
        ({"tools": ["x"]}, "tools.0.p=2", {"tools": [{"use": "x", "with": {"p": 2}}]}),
        ({}, "student.adapter.rank=4", {"student": {"adapter": {"with": {"rank": 4}}}}),
        ({"train": [SLOT]}, "train.0.name=n", {"train": [{"use": "x", "with": {"p": 1, "name": "n"}}]}),
        # options that have a `use` beside other keys are no component
        (
            {"train": [{"use": "x", "with": {"optimizer": {"use": "adamw", "lr": 1}}}]},
            "train.0.optimizer.warmup=5",
            {"train": [{"use": "x", "with": {"optimizer": {"use": "adamw", "lr": 1, "warmup": 5}}}]},
        ),
        # slots in options are
        (
            {"train": [{"use": "x", "with": {"teacher": {"use": "t"}}}]},
            "train.0.teacher.p=5",
            {"train": [{"use": "x", "with": {"teacher": {"use": "t", "with": {"p": 5}}}}]},
        ),
        # a term's own keys
        (
            {"reward": REWARD},
            "reward.terms.0.weight=3",
            {"reward": REWARD | {"terms": [{"use": "right", "weight": 3}]}},
        ),
        (
            {"reward": REWARD},
            "reward.gates.0.p=3",
            {"reward": REWARD | {"gates": [{"use": "ended", "otherwise": 0, "with": {"p": 3}}]}},
        ),
        # another part forgets the former one's options; the same part keeps them
        ({"task": SLOT}, "task.use=y", {"task": {"use": "y"}}),
        ({"task": SLOT}, "task.use=x", {"task": SLOT}),
        ({"task": SLOT}, "task=y", {"task": "y"}),
        ({"reward": REWARD}, "reward=mentor", {"reward": "mentor"}),
    ],
)
def test_settings(data: dict[str, Any], setting: str, result: dict[str, Any]) -> None:
    assert apply(data, setting) == result


def test_later_settings_win() -> None:
    assert apply({"a": 1}, "a=2", "a=3") == {"a": 3}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed", "expected key=value"),
        ("=3", "expected key=value"),
        (".=3", "expected key=value"),
        ("a..b=3", "expected key=value"),
        ("seed=[1", "the value is not valid YAML"),
        ("seed={a: 1, a: 2}", "the value is not valid YAML"),
        ("train.1.p=3", "train is a list of 1, and has no '1'"),
        ("train.-2=3", "train is a list of 1, and has no '-2'"),
        ("train.--1=3", "train is a list of 1, and has no '--1'"),
        ("train.²=3", "train is a list of 1, and has no '²'"),
        ("train.first=3", "train is a list of 1, and has no 'first'"),
        ("trackers.0=x", "trackers is a list of 0, and has no '0'"),
        ("name.x=3", "name is a plain value, and has no 'x'"),
        ("seed.x.y=3", "seed is a plain value, and has no 'x'"),
        ("task.p=3", "task.with is not a mapping, and has no 'p'"),
    ],
)
def test_settings_that_lead_nowhere(setting: str, message: str) -> None:
    data = {"seed": 1, "name": "n", "train": [SLOT], "task": {"use": "x", "with": [1]}}
    with pytest.raises(RecipeError) as error:
        apply(data, setting)
    assert error.value.message == f"--set {setting}: {message}"


def test_the_place_of_what_was_set_is_the_setting(here: Path) -> None:
    source = read_source(write(here, "train: [{use: x, with: {p: 1, q: {r: 2}}}]\n"))
    apply_overrides(source, parse_settings(["train.0.q=7", "rollout.deep.er=1"]))
    assert str(source.place(("train", 0, "with", "q", "r"))) == "--set train.0.q=7"
    assert str(source.place(("train", 0, "with", "p"))) == "recipe.yaml:1:28"
    assert str(source.place(("rollout", "deep"), key=True)) == "--set rollout.deep.er=1"
    assert ("train", 0, "with", "q", "r") not in source.values


@given(st.text(max_size=30))
def test_any_setting_is_applied_or_refused(setting: str) -> None:
    try:
        data = apply({"a": [1], "b": {"use": "x"}}, setting)
    except RecipeError:
        return
    assert isinstance(data, dict)
