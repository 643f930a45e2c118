"""On a Mac with Apple Silicon every extra can be installed: packages for macOS 14 and each of our Pythons are there."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path
from shutil import which
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_IS_PYTHON = "Programming Language :: Python :: 3."
PYTHONS = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if line.startswith(_IS_PYTHON)]
#: For the last release of each Python: some packages leave out its first ones.
COMPILE = (
    "uv pip compile pyproject.toml --all-extras --constraint constraints.txt --quiet "
    "--python-platform aarch64-apple-darwin --python-version {python}.9 --output-file"
)


@pytest.mark.slow
@pytest.mark.skipif(which("uv") is None, reason="uv is not installed")
@pytest.mark.parametrize("python", PYTHONS)
def test_every_extra_can_be_installed_on_a_mac(python: str, tmp_path: Path) -> None:
    output = tmp_path / "mac.txt"
    done = subprocess.run(
        [*COMPILE.format(python=python).split(), str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"},
    )
    assert done.returncode == 0, done.stderr
    names = {line.partition("==")[0] for line in output.read_text().splitlines() if "==" in line}
    assert {"torch", "mlx", "mlx-metal", "mlx-lm", "transformers"} <= names
