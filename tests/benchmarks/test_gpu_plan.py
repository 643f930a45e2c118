"""The dry runs in docs/gpu.md and docs/paper.md are those that the recipes give."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
gpu_plan = pytest.importorskip("gpu_plan", reason="the benchmarks are not there")


def test_every_recipe_is_in_the_table() -> None:
    shown = {recipe for _, recipe, _ in gpu_plan.ROWS}
    folder = Path(__file__).parents[2] / "recipes" / "gpu"
    assert shown == {path.stem for path in folder.glob("*.yaml")} - {"base"}


def test_all_weights_of_a_student_fit_with_moments_in_8_bits() -> None:
    assert gpu_plan.planned("rtx-4090", "qwen3-1.7b-8bit").fits


@pytest.mark.slow
def test_the_page_has_what_the_recipes_give() -> None:
    made = gpu_plan.parts()
    pages = [page.read_text(encoding="utf-8") for page in gpu_plan.PAGES]
    assert sorted(name for page in pages for _, name, _ in gpu_plan.MARKED.findall(page)) == sorted(made)
    for page in pages:
        assert gpu_plan.filled(page, made) == page, "python benchmarks/gpu_plan.py --write"
