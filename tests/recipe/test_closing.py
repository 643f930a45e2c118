"""What tools and task hold is let go of when a run ends, however it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from processes import children
from test_plan import with_plugin

import mentor_kit.api.executing
import mentor_kit.benchmark.measure
from mentor_kit import api
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.task import Problem
from mentor_kit.core.teacher import Teacher
from mentor_kit.hooks import hookimpl
from mentor_kit.recipe.settings import parse_settings

TOOL = '''
def add(a: float, b: float) -> float:
    """Add.

    Args:
        a: one.
        b: two.
    """
    return a + b
'''
RECIPE = """
extends: quickstart
name: closing
tools: [{use: python, with: {module: sums.py, workers: 1, limits: {seconds: 60, start_seconds: 120}}}]
train: [{use: export}]
evaluate: {at_start: false, at_end: false}
checkpoints: {best: null}
"""


@contextmanager
def no_worker_left_by(module: ModuleType) -> Iterator[None]:
    """Whether the workers of what the module assembles are ended; it is held here, so that only closing ends them."""
    before = children()
    seen: set[int] = set()
    held = []
    real = module.assemble_components

    def watched(*arguments):  # type: ignore[no-untyped-def]
        parts = real(*arguments)
        held.append(parts)
        seen.update(children() - before)
        return parts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "assemble_components", watched)
        yield
    assert seen  # the tools' worker was there
    assert not seen & children()


@pytest.mark.parametrize("settings", [[], ["student.model=broken"]], ids=["done", "failed"])
def test_no_worker_outlives_its_run(tmp_path: Path, settings: list[str]) -> None:
    (tmp_path / "sums.py").write_text(TOOL)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    with no_worker_left_by(mentor_kit.api.executing):
        if settings:
            with pytest.raises(MentorKitError, match="broken"):
                mentor_kit.run(recipe, overrides=parse_settings(settings), output=tmp_path / "runs")
        else:
            mentor_kit.run(recipe, output=tmp_path / "runs")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (["train=[{use: sft, with: {steps: 9, batch: 1, optimizer: {lr: 0.1}}}]", "student.model=tiny-blank"], None),
        ([], "no training stage to measure"),
        (["train=[{use: sft, with: {steps: 9, optimizer: {lr: 0.1}}}]", "student.model=broken"], "broken"),
    ],
    ids=["done", "nothing to measure", "failed"],
)
def test_no_worker_outlives_a_bench(
    tmp_path: Path, settings: list[str], fault: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mentor_kit_torch.flops_counter.MEASURED_SECONDS", 0.02)
    (tmp_path / "sums.py").write_text(TOOL)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    with no_worker_left_by(mentor_kit.benchmark.measure):
        if fault is None:
            mentor_kit.api.bench(recipe, overrides=parse_settings([*settings, "backend.threads=1"]), steps=1)
        else:
            with pytest.raises(MentorKitError, match=fault):
                mentor_kit.api.bench(recipe, overrides=parse_settings(settings), steps=1)


class Held(Teacher):
    """A teacher that holds something, and shows the names of tools alone."""

    name = "held"

    def __init__(self, open_now: list[Teacher]) -> None:
        self.open_now = open_now
        open_now.append(self)

    async def demonstrate(self, problems: Sequence[Problem]) -> AsyncIterator[Demonstration]:
        assert self in self.open_now
        for problem in problems:
            yield Demonstration(problem_id=problem.id, teacher=self.name, tools_used=("add",))

    def close(self) -> None:
        self.open_now.remove(self)


@pytest.mark.parametrize("named", ["by the recipe", "by the stage"])
def test_teachers_are_closed_when_the_run_is_over(tmp_path: Path, named: str) -> None:
    open_now: list[Teacher] = []
    built: list[Teacher] = []

    class Plugin:
        @hookimpl
        def register_teachers(self, register: Any) -> None:
            def build(options: Any, context: Any) -> Teacher:
                built.append(Held(open_now))
                return built[-1]

            register("held", build=build)

    of_stage = named == "by the stage"
    collect = {"use": "collect", "with": {"problems": 2, **({"teacher": "held"} if of_stage else {})}}
    overrides = {"train": [collect], "teacher": "scripted" if of_stage else "held", "evaluate.at_end": False}
    api.run("quickstart", overrides=overrides, output=tmp_path, registry=with_plugin(Plugin(), "held"))
    assert built
    assert not open_now
