"""Options of the trackers, and what the plugin says of those that cannot be used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from mentor_kit_trackers.options import MlflowOptions, TrackerOptions, TrackioOptions, WandbOptions
from ruamel.yaml import YAML

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.secret import Secret
from mentor_kit.hooks.loader import load_plugins
from mentor_kit.hooks.references import missing_package
from mentor_kit.hooks.registry import BuildContext, ComponentError, Registry

DOCS = Path(__file__).parents[3] / "docs" / "trackers.md"
NAMES = {"trackio": "trackio", "tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


@pytest.fixture(scope="module")
def registry() -> Registry:
    import mentor_kit_trackers

    plugins = load_plugins()
    if not plugins.manager.has_plugin("trackers"):
        plugins.manager.register(mentor_kit_trackers, "trackers")
    return Registry(plugins)


def test_each_tracker_is_registered_whether_or_not_its_package_is_there(registry: Registry) -> None:
    found = registry.components("trackers")
    assert set(NAMES) <= set(found)
    for name, package in NAMES.items():
        # it is installed by the extra of its own name
        assert (found[name].unavailable() == "") == (missing_package(package, name) == "")


def test_a_package_that_is_missing_is_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    # wandb itself leaves a folder of its name in the working folder
    (tmp_path / "no_such_tracker").mkdir()
    for package in ("no_such_tracker", "no_such_tracker_either"):
        reason, command = missing_package(package, "wandb").splitlines()
        assert package in reason
        assert command == "pip install 'mentor-kit[wandb]'"
    assert missing_package("pydantic", "wandb") == ""


@pytest.mark.parametrize(
    ("tracker", "options", "place"),
    [
        ("wandb", {"key": "abc"}, "with.key"),
        ("trackio", {"token": "abc"}, "with.token"),
        ("mlflow", {"token": "abc"}, "with.token"),
        ("wandb", {"mode": "maybe"}, "with.mode"),
        ("wandb", {"base_url": "wandb.example.org"}, "with.base_url"),
        ("trackio", {"server_url": "localhost:7860"}, "with.server_url"),
        ("trackio", {"server_url": "http://a", "space_id": "me/b"}, "with"),
        ("tensorboard", {"logdir": "x"}, "with.logdir"),
        ("mlflow", {"timeout": 0}, "with.timeout"),
        ("mlflow", {"rollouts": {"every": -1}}, "with.rollouts.every"),
    ],
)
def test_wrong_options_are_named_before_the_run(
    registry: Registry, tracker: str, options: dict[str, Any], place: str
) -> None:
    with pytest.raises(ComponentError) as raised:
        registry.check("trackers", ComponentSpec(use=tracker, options=options))
    assert [".".join(map(str, found)) for found, _ in raised.value.faults] == [place]


def test_a_secret_is_taken_and_kept_out_of_what_is_written(registry: Registry) -> None:
    key = Secret("hunter22", "${env:KEY}")
    options = registry.check("trackers", ComponentSpec(use="wandb", options={"key": key}))
    assert isinstance(options, WandbOptions)
    assert options.key == "hunter22"
    # the place of a run names its files, and has no secrets
    assert "hunter22" not in str(options.place())


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (WandbOptions(project="a"), WandbOptions(project="b"), False),
        (WandbOptions(mode="offline"), WandbOptions(mode="online"), False),
        (WandbOptions(timeout=1, tags=("a",)), WandbOptions(timeout=2), True),
        (MlflowOptions(tracking_uri="http://a"), MlflowOptions(), False),
        (TrackioOptions(folder=Path("a")), TrackioOptions(folder=Path("b")), False),
    ],
)
def test_other_places_are_other_runs(one: TrackerOptions, other: TrackerOptions, is_same: bool) -> None:
    assert (one.place() == other.place()) == is_same


def test_building_a_tracker_starts_nothing(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = ComponentSpec(use="tensorboard", options={"folder": "logs"})
    registry.build("trackers", spec, BuildContext(registry)).close("failed")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tracker", "section"),
    [("trackio", "Trackio"), ("tensorboard", "TensorBoard"), ("wandb", "Weights and Biases"), ("mlflow", "MLflow")],
)
def test_the_docs_have_every_option_and_recipes_that_are_right(registry: Registry, tracker: str, section: str) -> None:
    text = DOCS.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    options = registry.component("trackers", tracker).options
    assert documented == set(options.model_fields) - set(TrackerOptions.model_fields)
    (example,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    for spec in YAML(typ="safe", pure=True).load(example)["trackers"]:
        registry.check("trackers", ComponentSpec.model_validate(spec))
