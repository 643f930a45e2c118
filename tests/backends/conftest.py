"""A tiny student for each module of tests, and what judges it; modules with another kind of student have their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mentor_kit.testing.material import Oracle
from mentor_kit.testing.training import Trainer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torch_students import write_student

    return write_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Oracle:
    from torch_students import Float64Twin

    return Float64Twin(folder)


@pytest.fixture(scope="module")
def trainer(folder: Path) -> Trainer:
    from float64_trainer import Float64Trainer

    return Float64Trainer(folder)
