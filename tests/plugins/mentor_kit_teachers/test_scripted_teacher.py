from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, Message, assistant, call
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import ExitCode, UsageError
from mentor_kit.core.task import TRAIN, Problem, Task, boxed_answer
from mentor_kit.core.toolbox import FunctionTools, Toolbox
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks.loader import load_plugins
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.rollout import run_async

REGISTRY = Registry(load_plugins())


class Doubling(Task):
    """Double a number with the tool `double`, as often as the problem says."""

    splits = (TRAIN,)

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        return [Problem(id=f"d{n}", question=f"Double {n} twice.", answer=str(4 * n)) for n in range(count)]

    def answer(self, trajectory: Trajectory) -> str | None:
        return boxed_answer(trajectory.final_text)

    def check(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer


class Solvable(Doubling):
    def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
        results = [m.result.content for m in dialogue if m.result is not None]
        if len(results) < 2:
            return assistant(calls=[call("double", n=int(results[-1] if results else problem.id[1:]))])
        return assistant(rf"\boxed{{{results[-1]}}}")


CALLED: list[int] = []


def double(n: int) -> int:
    """Double a number."""
    CALLED.append(n)
    return 2 * n


def context(task: Doubling, limits: EpisodeLimits | None = None) -> BuildContext:
    toolbox = Toolbox([FunctionTools([double])])
    return BuildContext(REGISTRY, task=task, toolbox=toolbox, limits=limits or EpisodeLimits())


def shown(task: Doubling, count: int, limits: EpisodeLimits | None = None) -> list[Demonstration]:
    teacher = REGISTRY.build("teachers", ComponentSpec(use="scripted"), context(task, limits))

    async def gather() -> list[Demonstration]:
        return [found async for found in teacher.demonstrate(task.problems(TRAIN, 0, count))]

    return run_async(gather())


def test_the_worked_solution_is_played_with_the_real_tools() -> None:
    CALLED.clear()
    demonstrations = shown(Solvable(), 3)
    assert sorted(CALLED) == [0, 0, 1, 2, 2, 4]
    assert [d.problem_id for d in demonstrations] == ["d0", "d1", "d2"]
    assert all(d.correct and d.tools_used == ("double", "double") and d.teacher == "scripted" for d in demonstrations)
    trajectory = demonstrations[2].trajectory
    assert trajectory is not None
    assert [m.role for m in trajectory.messages] == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert [c.state for c in trajectory.calls] == [CallState.EXECUTED] * 2
    assert trajectory.answer == "8"


def test_a_wrong_solution_is_shown_as_wrong() -> None:
    class Careless(Solvable):
        def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
            return assistant(r"\boxed{1}")

    assert [d.correct for d in shown(Careless(), 2)] == [False, False]


def test_the_recipes_limits_hold_for_the_teacher_too() -> None:
    (demonstration,) = shown(Solvable(), 1, EpisodeLimits(max_turns=2))
    assert demonstration.trajectory is not None
    assert demonstration.trajectory.ending is Ending.MAX_TURNS
    assert not demonstration.correct


def test_a_task_without_solutions_is_a_usage_error_with_a_way_out() -> None:
    with pytest.raises(UsageError, match=r"Doubling.*`solve`") as caught:
        shown(Doubling(), 1)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint is not None
    assert "recorded" in caught.value.hint


def test_registering_the_plugins_is_light() -> None:
    heavy = "{'torch', 'transformers', 'pyarrow', 'mlx'}"
    code = (
        "import sys, mentor_kit_rewards, mentor_kit_teachers as t;"
        "t.register_teachers(lambda *a, **k: None); mentor_kit_rewards.register_reward_terms(lambda *a, **k: None);"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
