"""A fresh run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mentor_kit.runs import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "quick", "name: quick\nseed: 3\n")
