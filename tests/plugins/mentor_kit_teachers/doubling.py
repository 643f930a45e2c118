"""A task whose problems take two calls of one tool, and what a model says that solves it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import TRAIN, Problem, Task, boxed_answer
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.toolbox import FunctionTools, Toolbox
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks.loader import load_plugins
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.rollout import run_async

REGISTRY = Registry(load_plugins())


class Doubling(Task):
    """Double a number with the tool `double`, twice."""

    splits = (TRAIN,)

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        return [
            Problem(id=f"d{n}", question=f"Double {n} twice.", answer=str(4 * n), system="Be exact.")
            for n in range(1, count + 1)
        ]

    def answer(self, trajectory: Trajectory) -> str | None:
        return boxed_answer(trajectory.final_text)

    def check(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer


def double(n: int) -> int:
    """Double a number.

    Args:
        n: the number.
    """
    return 2 * n


def context(folder: Path, limits: EpisodeLimits | None = None) -> BuildContext:
    return BuildContext(
        REGISTRY,
        recipe_folder=folder,
        task=Doubling(),
        toolbox=Toolbox([FunctionTools([double])]),
        limits=limits or EpisodeLimits(),
    )


def teacher(use: str, folder: Path, *, limits: EpisodeLimits | None = None, **options: Any) -> Teacher:
    built: Teacher = REGISTRY.build("teachers", ComponentSpec(use=use, options=options), context(folder, limits))
    return built


def shown(teacher: Teacher, count: int) -> list[Demonstration]:
    async def gather() -> list[Demonstration]:
        return [found async for found in teacher.demonstrate(Doubling().problems(TRAIN, 0, count))]

    return sorted(run_async(gather()), key=lambda found: (int(found.problem_id[1:]), found.provenance.get("attempt")))


def next_step(question: str, results: Sequence[str]) -> tuple[str, dict[str, int] | None]:
    """What a good model says next: words, and the arguments of a call if it makes one."""
    found = re.search(r"Double (\d+) twice", question)
    assert found is not None
    if len(results) < 2:
        return f"Step {len(results) + 1}.", {"n": int(results[-1] if results else found.group(1))}
    return rf"It is \boxed{{{results[-1]}}}.", None
