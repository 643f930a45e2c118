"""Which wheels a machine with a GPU and no network needs."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import wheels


def test_packages_are_followed_through_all_that_they_need_in_the_installed_versions() -> None:
    found = wheels.needed(["mentor-kit[torch]"], "3.12")
    # the last of these is needed by one that pydantic needs
    assert {"mentor-kit", "pluggy", "torch", "peft", "pydantic-core", "typing-extensions"} <= {*found}
    assert found["pydantic-core"] == version("pydantic-core")


def test_extras_and_other_machines_packages_are_left_out() -> None:
    found = wheels.needed(["mentor-kit[torch]"], "3.12")
    assert not {"mlx", "trl", "wandb", "pytest", "colorama", "pywin32"} & {*found}
    assert "pytest" in wheels.needed(["mentor-kit", "pytest"], "3.12")


def test_one_that_is_not_installed_is_named() -> None:
    with pytest.raises(PackageNotFoundError, match="no-such-package"):
        wheels.needed(["no-such-package"], "3.12")
