"""New plugins: every kind is scaffolded, registered and used by its recipe; the names are right, nothing is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mentor_kit import api
from mentor_kit.api.scaffold.plugin import NewPlugin, new_plugin
from mentor_kit.api.scaffold.samples import SAMPLES
from mentor_kit.core.errors import UsageError
from mentor_kit.hooks import Registry, load_plugins
from mentor_kit.hooks.registry import KINDS
from mentor_kit.recipe.checking import all_component_specs

ALL = tuple(sample.kind for sample in SAMPLES)
ROOT = Path(__file__).parents[3]
#: The kinds whose components no component spec of a recipe names.
NOT_SPECS = {"students", "families", "formats", "recipes", "engines"}


@pytest.fixture
def clean_modules() -> Iterator[None]:
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if name.startswith("mentor_kit_trial"):
            del sys.modules[name]


def registry_with(plugin: NewPlugin, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The installed plugins, and the new one beside them."""
    monkeypatch.syspath_prepend(str(plugin.folder))
    point = EntryPoint(plugin.names.plugin, plugin.names.package, "mentorkit")
    return Registry(load_plugins([*entry_points(group="mentorkit"), point]))


def test_there_is_a_sample_of_every_kind() -> None:
    assert set(KINDS) <= set(ALL)


@pytest.mark.usefixtures("clean_modules")
@pytest.mark.parametrize("kind", ALL)
def test_every_kind_is_registered_and_used_by_the_recipe(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = new_plugin("trial", [kind], folder=tmp_path / "new")
    registry = registry_with(plugin, monkeypatch)
    assert [info.name for info in registry.plugins.failed] == []
    loaded = api.check(plugin.folder / plugin.recipe, registry=registry)
    used = {(found, spec.use) for found, spec, _ in all_component_specs(loaded.recipe, registry)}
    for other in KINDS:
        assert registry.has(other, "trial") == (other in plugin.kinds)
        # students, families and recipes are named by strings, not by component specs; engines on the command line
        named = other in plugin.kinds and other not in NOT_SPECS
        assert ((other, "trial") in used) == named
    assert (loaded.recipe.student.model == "trial") == (kind == "students")
    assert (loaded.recipe.student.chat_template is not None) == (kind == "families")
    assert registry.faults == []


@pytest.mark.usefixtures("clean_modules")
def test_everything_at_once_is_used_by_one_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = new_plugin("trial-all", ALL, folder=tmp_path / "new")
    registry = registry_with(plugin, monkeypatch)
    loaded = api.check(plugin.folder / plugin.recipe, registry=registry)
    used = {found for found, spec, _ in all_component_specs(loaded.recipe, registry) if spec.use == "trial-all"}
    assert used == set(KINDS) & set(ALL) - NOT_SPECS
    readme = (plugin.folder / "README.md").read_text(encoding="utf-8")
    assert readme.count("`trial-all` |") == len(set(KINDS) & set(ALL))


def test_the_recipe_of_the_example_is_what_the_example_would_be_given(tmp_path: Path) -> None:
    added = ("students", "families", "samplers")
    ours = [sample.kind for sample in SAMPLES if sample.example == "weather" and sample.kind not in added]
    plugin = new_plugin("trial", ours, folder=tmp_path / "new")
    example = ROOT / "examples" / "mentor-kit-weather" / "mentor_kit_weather" / "recipe.yaml"
    text = example.read_text(encoding="utf-8").replace("weather", "trial")
    yaml = YAML(typ="safe", pure=True)
    assert yaml.load((plugin.folder / plugin.recipe).read_text(encoding="utf-8")) == yaml.load(text)


def test_a_student_of_its_own_has_no_comment_on_another(tmp_path: Path) -> None:
    for kinds, commented in ((["students"], False), (["losses"], True)):
        plugin = new_plugin("trial", kinds, folder=tmp_path / kinds[0])
        lines = (plugin.folder / plugin.recipe).read_text(encoding="utf-8").splitlines()
        (line,) = [line for line in lines if line.startswith("student:")]
        assert ("#" in line) == commented


def test_no_name_of_an_example_is_left(tmp_path: Path) -> None:
    plugin = new_plugin("trial-names", ALL, folder=tmp_path / "new")
    for file in plugin.files:
        text = (plugin.folder / file).read_text(encoding="utf-8")
        assert not re.findall(r"weather|mentor.kit.(?:objectives|numpy)|\"numpy\"", text, re.I), file
        assert not re.search(r"Numpy(?![a-z])", text), file
    text = (plugin.folder / "mentor_kit_trial_names" / "task.py").read_text(encoding="utf-8")
    assert "class TrialNamesTask(Task)" in text
    project = (plugin.folder / "pyproject.toml").read_text(encoding="utf-8")
    assert 'name = "mentor-kit-trial-names"' in project
    assert 'trial-names = "mentor_kit_trial_names"' in project
    # which licence it has is for its author to say
    assert "license" not in project


@pytest.mark.parametrize("name", ["a", "abcdefghijklmnopqrst-abc"])
def test_what_is_written_is_formatted_whatever_the_names_length(name: str, tmp_path: Path) -> None:
    plugin = new_plugin(name, ALL, folder=tmp_path / "new")
    for command in (["check"], ["format", "--diff"]):
        found = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
            cwd=plugin.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("name", ["chess", "mentor-kit-chess", "mentor_kit_chess", "Chess", "mentor.kit.chess"])
def test_one_name_makes_all_others(name: str, tmp_path: Path) -> None:
    names = new_plugin(name, folder=tmp_path / "new").names
    assert (names.plugin, names.distribution, names.package) == ("chess", "mentor-kit-chess", "mentor_kit_chess")
    assert (names.camel, names.snake) == ("Chess", "chess")


@pytest.mark.parametrize(
    ("name", "kinds", "named"),
    [
        ("", ["tools"], "''"),
        ("3d", ["tools"], "'3d'"),
        ("a b", ["tools"], "'a-b'"),
        ("schach-größe", ["tools"], "größe"),
        ("../up", ["tools"], "'../up'"),
        ("x" * 25, ["tools"], "25 characters"),
        ("math", ["tools"], "mentor-kit"),
        ("tools", ["losses"], "mentor-kit"),
        ("sparse", ["rewards"], "'rewards'"),
        ("chess", ["toools"], "'tools'"),
        ("chess", ["teachr"], "'teacher'"),
    ],
)
def test_wrong_names_and_kinds_write_nothing(name: str, kinds: list[str], named: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(named)):
        new_plugin(name, kinds, folder=tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_another_kinds_component_is_free(tmp_path: Path) -> None:
    assert new_plugin("sparse", ["tools"], folder=tmp_path / "new").names.plugin == "sparse"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    for taken in ("full", "file"):
        with pytest.raises(UsageError, match="there already"):
            new_plugin("chess", folder=tmp_path / taken)
    assert (tmp_path / "full" / "mine.txt").read_text(encoding="utf-8") == "mine"
    new_plugin("chess", folder=tmp_path / "empty")
    assert {found.name for found in tmp_path.iterdir()} == {"full", "file", "empty"}


@pytest.mark.slow
def test_its_own_tests_and_its_types_are_right_at_once(tmp_path: Path) -> None:
    plugin = new_plugin("trial-whole", ALL, folder=tmp_path / "new")
    info = tmp_path / "site" / "mentor_kit_trial_whole-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: mentor-kit-trial-whole\nVersion: 0.1.0\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text("[mentorkit]\ntrial-whole = mentor_kit_trial_whole\n", encoding="utf-8")
    path = os.pathsep.join([str(plugin.folder), str(tmp_path / "site"), *filter(None, sys.path)])
    for command in (["pytest", "-q", "-p", "no:cacheprovider"], ["mypy", "--cache-dir", str(tmp_path / "mypy")]):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=plugin.folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]


def test_a_name_in_another_script_is_answered_by_no_remnant_of_it() -> None:
    with pytest.raises(UsageError) as caught:
        new_plugin("ünï")
    assert "did you mean" not in caught.value.message
    with pytest.raises(UsageError, match="did you mean 'my-plugin'"):
        new_plugin("my plugin")


@pytest.mark.parametrize("name", ["weather-x", "my-weather", "sapo-x"])
def test_a_name_may_have_the_examples_in_it(name: str, tmp_path: Path) -> None:
    made = new_plugin(name, ALL, folder=tmp_path / "new")
    recipe = YAML(typ="safe").load((tmp_path / "new" / made.recipe).read_text())
    assert recipe["task"]["use"] == recipe["tools"][0]["use"] == recipe["student"]["model"] == name
    assert f'{name} = "mentor_kit_{name.replace("-", "_")}"' in (tmp_path / "new" / "pyproject.toml").read_text()
    twice = re.compile(rf"{name}-x|my-{name}|{name.replace('-', '_')}_x|my_{name.replace('-', '_')}")
    for file in (tmp_path / "new").rglob("*.*"):
        if file.is_file():
            assert not twice.search(file.read_text()), file
