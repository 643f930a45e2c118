"""From files and names to recipes: `extends`, secrets, what is written out again."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipe_helpers import SMALL, Parts, registry, write
from ruamel.yaml import YAML

from mentor_kit.core.errors import PluginError, RecipeError
from mentor_kit.core.secret import Secret, hide, remember
from mentor_kit.hooks import hookimpl
from mentor_kit.recipe import loading
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.loading import dump_recipe, find_recipe, load_recipe, recipe_as_data, recipe_names
from mentor_kit.recipe.settings import parse_settings

KEY = "sk-very-secret-4711"


def test_a_small_recipe_and_its_defaults(here: Path) -> None:
    loaded = load_recipe(write(here))
    recipe = loaded.recipe
    assert loaded.folder == here
    assert (recipe.name, recipe.seed, recipe.backend.use) == ("small", 0, "torch")
    assert recipe.train[0].options == {"steps": 3}
    assert (recipe.rollout.temperature, recipe.rollout.deterministic) == (1.0, "auto")
    assert (recipe.evaluate.at_start, recipe.evaluate.at_end, recipe.evaluate.on) == (True, True, ())


def test_deterministic_rollouts_do_not_overlap(here: Path) -> None:
    path = write(here)
    assert load_recipe(path, {"rollout.staleness": 2}).recipe.rollout.staleness == 2
    with pytest.raises(RecipeError, match=r"^rollout: .*deterministic"):
        load_recipe(path, {"rollout.staleness": 1, "rollout.deterministic": True})
    with pytest.raises(RecipeError, match=r"rollout\.staleness"):
        load_recipe(path, {"rollout.staleness": -1})


def test_recipes_extend_files_and_names_over_several_steps(here: Path) -> None:
    write(here, SMALL, "deep/er/base.yaml")
    write(
        here, "extends: er/base.yaml\nseed: 5\nname: middle\ntrain: [{use: learn, with: {steps: 9}}]\n", "deep/m.yaml"
    )
    top = write(here, "extends: deep/m.yaml\nname: top\nrollout: {max_turns: 2}\n")
    recipe = load_recipe(top, {"seed": 7}).recipe
    assert (recipe.name, recipe.seed, recipe.rollout.max_turns) == ("top", 7, 2)
    assert recipe.train[0].options == {"steps": 9}
    assert recipe.task.use == "sums"
    named = load_recipe(write(here, "extends: quickstart\nname: mine\n", "named.yaml"))
    assert named.recipe.name == "mine"
    assert named.recipe.train == load_recipe("quickstart").recipe.train
    assert named.folder == here


def test_extends_that_goes_wrong(here: Path) -> None:
    write(here, "extends: b.yaml\n", "a.yaml")
    write(here, "extends: c.yaml\n", "b.yaml")
    write(here, "extends: a.yaml\n", "c.yaml")
    with pytest.raises(RecipeError, match=r"is circular: .*a.yaml -> .*b.yaml -> .*c.yaml -> .*a.yaml$"):
        load_recipe("a.yaml")
    write(here, "name: x\nextends: gone.yaml\n", "d.yaml")
    with pytest.raises(RecipeError, match=r"^d.yaml:2:10: extends: there is no recipe 'gone.yaml'"):
        load_recipe("d.yaml")
    write(here, "extends: [a.yaml]\n", "e.yaml")
    with pytest.raises(
        RecipeError, match=r"^e.yaml:1:10: extends: expected a file or a recipe's name, not \['a.yaml'\]"
    ):
        load_recipe("e.yaml")


def test_names_of_recipes(here: Path) -> None:
    assert {"quickstart", "students/tiny", "miniature/causes/mentor"} <= set(recipe_names())
    assert find_recipe("quickstart").name == "quickstart.yaml"
    (here / "quickstart").mkdir()
    assert find_recipe("quickstart").is_file()
    (here / "folder").mkdir()
    with pytest.raises(RecipeError, match="folder: is a folder"):
        find_recipe("folder")
    with pytest.raises(RecipeError, match=r"no recipe 'quickstrat' \(did you mean 'quickstart'\?\)") as error:
        find_recipe("quickstrat")
    assert "quickstart" in (error.value.hint or "")
    with pytest.raises(RecipeError, match=r"'mentr'.*'mentor'"):
        find_recipe("mentr")


def test_a_recipe_that_is_not_there_names_its_neighbours() -> None:
    with pytest.raises(RecipeError) as caught:
        find_recipe("miniature/causes/menthor")
    assert "'miniature/causes/mentor'" in str(caught.value)
    assert caught.value.hint is not None
    assert "miniature/causes/sparse" in caught.value.hint
    assert "paper" not in caught.value.hint
    with pytest.raises(RecipeError) as caught:
        find_recipe("nothing-like-it")
    # folders stand for what is in them
    assert {"quickstart", "miniature/…", "paper/…"} <= set(str(caught.value.hint).partition(": ")[2].split(", "))


def test_plugins_offer_recipes_and_a_broken_one_matters_only_if_used(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(here, SMALL, "elsewhere/theirs.yaml")

    class Recipes(Parts):
        @staticmethod
        @hookimpl
        def register_recipes(register: Any) -> None:
            register("theirs", build=lambda options, context: file)
            register("quickstart", build=lambda options, context: file)
            register("broken", build=lambda options, context: 1 / 0)

    monkeypatch.setattr(loading, "_registry", lambda: registry(Recipes("recipes")))
    assert load_recipe("theirs").recipe.name == "small"
    assert load_recipe("quickstart").recipe.name == "quickstart"  # what is shipped cannot be taken over
    assert {"theirs", "broken", "quickstart"} <= set(recipe_names())
    with pytest.raises(PluginError, match="plugin 'recipes' could not build the recipe 'broken'"):
        load_recipe("broken")


def test_a_recipe_may_name_the_folder_its_paths_are_relative_to(here: Path) -> None:
    path = write(here, SMALL + "folder: data\n", "sub/recipe.yaml")
    assert load_recipe(path).folder == here / "sub" / "data"
    assert load_recipe(path, {"folder": "/srv"}).folder == Path("/srv")


def secret_recipe(folder: Path, **options: str) -> Path:
    text = SMALL.replace("teacher: {use: scripted}", f"teacher: {{use: scripted, with: {json.dumps(options)}}}")
    return write(folder, text)


def test_a_secret_is_used_and_written_as_its_reference(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    loaded = load_recipe(secret_recipe(here, key="Bearer ${env:TEACHER_KEY}!"), {"tools.0.token": "${env:TEACHER_KEY}"})
    assert loaded.recipe.teacher is not None
    assert loaded.recipe.teacher.options["key"] == f"Bearer {KEY}!"
    assert loaded.recipe.tools[0].options["token"] == KEY
    for text in (dump_recipe(loaded), json.dumps(recipe_as_data(loaded)), repr(loaded), repr(loaded.recipe)):
        assert KEY not in text
        assert "Bearer ${env:TEACHER_KEY}!" in text
    again = load_recipe(write(here, dump_recipe(loaded), "again.yaml"))
    assert again.recipe.teacher == loaded.recipe.teacher
    assert dump_recipe(again) == dump_recipe(loaded)


def test_secrets_do_not_show_in_faults(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    path = secret_recipe(here, key="k", count="${env:TEACHER_KEY}", other="x ${env:TEACHER_KEY}")
    with pytest.raises(RecipeError) as error:
        load_checked(path, {"train.0.steps": "nine"}, registry())
    assert str(error.value).count("\n") == 2
    assert KEY not in str(error.value)
    assert "${env:TEACHER_KEY}" in str(error.value)
    assert hide(f"401 for {KEY}") == "401 for ${env:TEACHER_KEY}"


@pytest.mark.parametrize(
    ("value", "shown"), [("{}\n", "b'Bearer {}\\n'"), ("http://me:{}@host/", "http://me:{}@host:1")]
)
def test_secrets_do_not_show_where_programs_change_their_ends(value: str, shown: str) -> None:
    password = "correct-horse-battery"
    remember(value.format(password), "${env:ENDING}")
    assert password not in hide(shown.format(password))


def test_secrets_that_are_missing_or_out_of_place(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    path = secret_recipe(here, key="${env:TEACHER_KEY}")
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert error.value.message == (
        "recipe.yaml:6:40: teacher.with.key: the environment variable 'TEACHER_KEY' is not set"
    )
    assert error.value.hint == "set it: export TEACHER_KEY=…"
    monkeypatch.setenv("TEACHER_KEY", KEY)
    with pytest.raises(RecipeError, match=r"^--set name=\$\{env:TEACHER_KEY\}: name: a secret can only stand inside"):
        load_recipe(path, parse_settings(["name=${env:TEACHER_KEY}"]))


def test_secrets_survive_copying() -> None:
    secret = Secret(KEY, "${env:X}")
    for copied in (copy.deepcopy(secret), pickle.loads(pickle.dumps(secret))):
        assert copied == KEY
        assert copied.reference == "${env:X}"


@given(
    st.dictionaries(
        st.text(max_size=4),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda text: "${env:" not in text),
            lambda inner: st.lists(inner, max_size=3),
        ),
        max_size=3,
    )
)
def test_what_is_written_is_read_as_the_same_recipe(
    tmp_path_factory: pytest.TempPathFactory, options: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("round")
    loaded = load_recipe(write(folder))
    spec = loaded.recipe.task.model_copy(update={"options": options})
    changed = type(loaded)(loaded.recipe.model_copy(update={"task": spec}), loaded.folder, loaded.source)
    again = load_recipe(write(folder, dump_recipe(changed), "again.yaml"))
    assert json.dumps(again.recipe.task.options) == json.dumps(options)
    assert again.recipe.model_copy(update={"folder": None}) == changed.recipe
    assert again.folder == changed.folder


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_load_and_are_written_whole(name: str, tmp_path: Path) -> None:
    loaded = load_recipe(name)
    data = YAML(typ="safe", pure=True).load(dump_recipe(loaded))
    assert data == recipe_as_data(loaded)
    assert "extends" not in data
    assert load_recipe(write(tmp_path, dump_recipe(loaded))).recipe.train == loaded.recipe.train
