"""The notebooks run from their first cell to their last, and become notebooks that Jupyter reads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs" / "site"))
site = pytest.importorskip("build_site", reason="the docs' packages are not installed: pip install 'mentor-kit[docs]'")
nbformat = pytest.importorskip("nbformat")

#: Runs a script as Jupyter does, inside an event loop.
IN_A_LOOP = """
import asyncio, pathlib, sys

async def main():
    exec(compile(pathlib.Path(sys.argv[1]).read_text(), sys.argv[1], "exec"), {"__name__": "__main__"})

asyncio.run(main())
"""


def notebooks(folder: Path) -> dict[str, Any]:
    """The notebooks, made from their scripts."""
    for script in (ROOT / "docs" / "notebooks").glob("*.py"):
        site.stage_notebook(script, folder)
    return {path.stem: nbformat.read(path, as_version=4) for path in folder.glob("*.ipynb")}


def test_scripts_become_notebooks(tmp_path: Path) -> None:
    made = notebooks(tmp_path)
    assert set(made) == {"quickstart", "hub_model"}
    for name, notebook in made.items():
        nbformat.validate(notebook)
        assert notebook.metadata["kernelspec"]["name"] == "python3"
        first, installing, *_ = notebook.cells
        assert (first.cell_type, first.source.count("# ")) == ("markdown", 1)
        assert installing.source.startswith("%pip install")
        links = re.findall(
            r"\]\(([^)]+)\)", "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        )
        assert links
        assert [link for link in links if not link.startswith(f"{site.CONFIG['site_url']}") or ".md" in link] == []
        page = (tmp_path / f"{name}.md").read_text()
        assert page.startswith(first.source.splitlines()[0])
        assert f"]({name}.ipynb)" in page
        for cell in notebook.cells:
            assert cell.source.strip() in page or cell.cell_type == "markdown"


def run(name: str, folder: Path, **variables: str) -> str:
    """Run a notebook's script in a folder, and return what it prints."""
    paths = os.pathsep.join(str(ROOT / part) for part in (".", "backends", "plugins"))
    environment = {**os.environ, "PYTHONPATH": paths, "MPLBACKEND": "Agg", **variables}
    command = [sys.executable, "-c", IN_A_LOOP, str(ROOT / "docs" / "notebooks" / f"{name}.py")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_quickstart_runs(tmp_path: Path) -> None:
    said = run("quickstart", tmp_path, STEPS="2", PROBLEMS="4")
    assert "power({'base': 37, 'exponent': 3}) gives 50653" in said
    assert (tmp_path / "quickstart.html").stat().st_size > 10_000
    assert len(list(tmp_path.glob("runs/quickstart/*/checkpoints/*"))) >= 1


@pytest.mark.slow
def test_the_hub_model_runs_with_a_tiny_one(tmp_path: Path) -> None:
    run("hub_model", tmp_path, STUDENT="tiny-student", STEPS="1", PROBLEMS="2")
    assert (tmp_path / "shop.html").stat().st_size > 10_000
    card = (tmp_path / "shop-student" / "README.md").read_text()
    assert "mentor-kit" in card
    (events,) = tmp_path.glob("runs/shop/*/events.jsonl")
    kinds = [json.loads(line)["kind"] for line in events.read_text().splitlines()]
    assert kinds.count("evaluation") == 2
