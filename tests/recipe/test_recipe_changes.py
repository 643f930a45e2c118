"""Recipes that were changed since: every difference is found, and only what concerns work yet to come may differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe_helpers import registry, write

from mentor_kit import api
from mentor_kit.core.errors import UsageError
from mentor_kit.hooks.loader import default_registry
from mentor_kit.recipe.changes import Progress, RecipeChange, _differences, changes, check_changes
from mentor_kit.recipe.loading import LoadedRecipe, load_recipe
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.stages import Workload

TWO = "train=[{use: learn, with: {steps: 3}}, {use: learn, with: {steps: 5}}]"
LEARNS = Workload(steps=5, reward=True, adjustable=("steps",))


def loaded(*settings: str, base: tuple[str, ...] = ()) -> LoadedRecipe:
    return load_recipe("recipe.yaml", parse_settings([*base, *settings]))


def between(*settings: str, base: tuple[str, ...] = ()) -> dict[str, tuple[Any, Any]]:
    found = changes(loaded(base=base), loaded(*settings, base=base), registry())
    return {change.key: (change.before, change.after) for change in found}


@pytest.fixture(autouse=True)
def small(here: Path) -> None:
    write(here)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], {}),
        (["train.0.steps=9"], {"train.0.steps": (3, 9)}),
        (["train.0.rate=0.5", "evaluate.every=0", "seed=0"], {}),  # what is the default anyway
        (["teacher.count=1", "teacher.key=''"], {}),
        (["teacher.count=2"], {"teacher.count": (1, 2)}),
        (["train.0.inner.depth=4"], {"train.0.inner.depth": (1, 4)}),
        (["train.0.teacher=scripted"], {"train.0.teacher": (None, "scripted")}),
        (["seed=4", "name=x"], {"seed": (0, 4), "name": ("small", "x")}),
        (["rollout.system=Hi"], {"rollout.system": (None, "Hi")}),
        (["evaluate.on=[{split: a}]"], {"evaluate.on.0": ("nothing", "a")}),
        (["student.adapter=lora"], {"student.adapter": (None, "lora")}),
        (["reward={terms: [{use: right, weight: 2}]}"], {"reward": ("mentor", "its own")}),
    ],
)  # fmt: skip
def test_differences(settings: list[str], expected: dict[str, Any]) -> None:
    found = between(*settings)
    assert set(found) == {key if key != "reward" else next(iter(found)) for key in expected}
    for key, (before, after) in expected.items():
        if isinstance(before, int) or isinstance(after, int):
            assert found[key] == (before, after)


def test_another_part_is_one_difference() -> None:
    old, new = loaded(), loaded("tools=[{use: maths}, {use: maths}]", "backend=other")
    assert {change.key: (change.before, change.after) for change in changes(old, new, registry())} == {
        "backend.use": ("torch", "other"), "tools.1": ("nothing", {"use": "maths", "with": {}}),
    }  # fmt: skip


def test_a_file_written_out_is_the_same_recipe(tmp_path: Path) -> None:
    """`dump_recipe` and what it came from differ nowhere, whatever defaults are written."""
    from mentor_kit.recipe.loading import dump_recipe

    for name in ("quickstart", "paper/qwen3-1.7b/sft", "miniature/causes/mentor-sod"):
        whole = load_recipe(name)
        path = tmp_path / "dumped.yaml"
        path.write_text(dump_recipe(whole), encoding="utf-8")
        assert changes(whole, load_recipe(path), default_registry()) == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)


@given(before=VALUES, after=VALUES)
def test_nothing_is_overlooked(before: Any, after: Any) -> None:
    found = list(_differences(before, after, ()))
    same = _typed(before) == _typed(after)
    assert (found == []) == same


def _typed(value: Any) -> Any:
    """Values that equal each other only if they are written alike."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return (type(value).__name__, value)


# --- what may change


def refused(*settings: str, at: Progress, works: list[Workload] | None = None) -> set[str]:
    base = (TWO,)
    found = changes(loaded(base=base), loaded(*settings, base=base), registry())
    assert found
    try:
        check_changes(found, at, works or [LEARNS, LEARNS, LEARNS], "do something else")
    except UsageError as error:
        return {line.partition(": ")[0] for line in error.message.splitlines()[1:]}
    return set()


@pytest.mark.parametrize(
    "setting",
    ["evaluate.every=3", "evaluate.on=[{split: a}]", "checkpoints.every=1", "checkpoints.best=null", "trackers=[x]",
     "record.rollouts=9", "record.tokens=false",
     "evaluate.agent=scripted", "checkpoints.keep_last=9"],
)  # fmt: skip
@pytest.mark.parametrize("at", [Progress(), Progress(0, 2), Progress(1, 5)])
def test_what_is_free(setting: str, at: Progress) -> None:
    assert not refused(setting, at=at)


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("seed=1", "seed"), ("name=x", "name"), ("folder=/x", "folder"), ("student.model=a/b", "student.model"),
        ("student.adapter=lora", "student.adapter"), ("task.inner.width=3", "task.inner.width"),
        ("tools=[]", "tools.0"), ("teacher.count=3", "teacher.count"),
        ("rollout.temperature=0.5", "rollout.temperature"),
        ("rollout.max_turns=9", "rollout.max_turns"), ("backend=mlx", "backend.use"), ("teacher=null", "teacher"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("at", [Progress(), Progress(1, 5)])
def test_what_is_fixed(setting: str, key: str, at: Progress) -> None:
    assert refused(setting, at=at) == {key}


@pytest.mark.parametrize(
    ("setting", "at", "expected"),
    [
        ("train.0.steps=9", Progress(0, 2), set()),
        ("train.0.rate=0.1", Progress(0, 2), {"train.0.rate"}),
        ("train.1.rate=0.1", Progress(0, 2), set()),
        ("train.1.use=other", Progress(0, 2), set()),
        ("train.0.use=other", Progress(0, 2), {"train.0.use"}),
        ("train.0.steps=9", Progress(1, 1), {"train.0.steps"}),  # that one is finished
        ("train.1.steps=9", Progress(1, 5), set()),
        ("train.1.inner.depth=2", Progress(1, 5), {"train.1.inner.depth"}),
        ("train.0.rate=0.1", Progress(), set()),  # nothing of it was kept
        ("train=[{use: learn, with: {steps: 3}}]", Progress(0, 3), set()),  # a later stage is given up
        ("train=[{use: learn, with: {steps: 3}}]", Progress(1, 1), {"train.1"}),
        ("train=[{use: learn, with: {steps: 3}}, {use: learn, with: {steps: 5}}, {use: learn, with: {steps: 1}}]",
         Progress(1, 5), set()),
        ("train=[]", Progress(0, 1), {"train.0"}),
    ],
)  # fmt: skip
def test_stages(setting: str, at: Progress, expected: set[str]) -> None:
    assert refused(setting, at=at) == expected


def test_no_stage_is_shorter_than_what_is_done() -> None:
    assert refused("train.0.steps=4", at=Progress(0, 5), works=[Workload(steps=4, adjustable=("steps",))])
    assert not refused("train.0.steps=5", at=Progress(0, 5), works=[Workload(steps=5, adjustable=("steps",))])


def test_a_stage_that_says_nothing_cannot_change_while_it_is_under_way() -> None:
    assert refused("train.0.steps=9", at=Progress(0, 1), works=[Workload(), Workload()]) == {"train.0.steps"}


def test_a_reward_may_change_before_a_stage_that_learns_from_it() -> None:
    imitates = LEARNS.model_copy(update={"reward": False})
    reward = "reward={terms: [{use: right, weight: 2}]}"
    assert not refused(reward, at=Progress(0, 3), works=[imitates, LEARNS])
    assert refused(reward, at=Progress(1, 1), works=[imitates, LEARNS])


def test_all_that_cannot_be_is_named_at_once() -> None:
    assert refused("seed=1", "train.0.rate=2", "evaluate.every=2", at=Progress(0, 1)) == {"seed", "train.0.rate"}


def test_a_secret_is_shown_as_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "hidden-value")
    (change,) = changes(loaded(), loaded("teacher.key=${env:THE_KEY}"), registry())
    assert "hidden-value" not in str(change)
    assert isinstance(change, RecipeChange)
    assert change.after == "${env:THE_KEY}"


def test_the_stages_that_come_along_can_be_lengthened() -> None:
    from mentor_kit.recipe.assembly import assemble_components
    from mentor_kit.recipe.workloads import build_stages, workloads

    checked = api.check(
        "quickstart", overrides={"train": [{"use": "sft", "with": {"steps": 1, "optimizer": {"lr": 1}}}, "evaluate"]}
    )
    context = assemble_components(checked, default_registry()).context
    works = list(workloads(checked.recipe, build_stages(checked.recipe, default_registry(), context)).values())
    assert ["steps" in work.adjustable for work in works] == [True, False]
