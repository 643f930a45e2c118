"""Every extra can be installed with the pins: on a Mac with each of our Pythons, on Linux with the oldest."""

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
OLDEST = PROJECT["requires-python"].removeprefix(">=")
#: For the first release of each Python: distributions keep theirs for years (Debian 12 has 3.11.2).
COMPILE = (
    "uv pip compile pyproject.toml --all-extras --constraint constraints.txt --quiet "
    "--python-platform {platform} --python-version {python} --output-file"
)
needs_uv = pytest.mark.skipif(which("uv") is None, reason="uv is not installed")


def _resolved(platform: str, python: str, output: Path) -> set[str]:
    """The names of all packages that every extra together takes."""
    done = subprocess.run(
        [*COMPILE.format(platform=platform, python=python).split(), str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"},
    )
    assert done.returncode == 0, done.stderr
    return {line.partition("==")[0] for line in output.read_text().splitlines() if "==" in line}


@pytest.mark.slow
@needs_uv
@pytest.mark.parametrize("python", PYTHONS)
def test_every_extra_can_be_installed_on_a_mac(python: str, tmp_path: Path) -> None:
    names = _resolved("aarch64-apple-darwin", f"{python}.0", tmp_path / "mac.txt")
    assert {"torch", "mlx", "mlx-metal", "mlx-lm", "transformers"} <= names


@pytest.mark.slow
@needs_uv
def test_every_extra_can_be_installed_with_the_oldest_python(tmp_path: Path) -> None:
    # 2.35 of the C library: mlx for Linux needs it
    names = _resolved("x86_64-manylinux_2_35", f"{OLDEST}.0", tmp_path / "linux.txt")
    assert {"torch", "mlx", "mlx-lm", "transformers", "pymdown-extensions"} <= names
