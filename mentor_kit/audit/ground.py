"""What attacks are made of: a problem, its tools, and honest work on it, right and wrong, as raw text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mentor_kit.audit.raw import END, Script, World
from mentor_kit.conversation import Message, ToolCall
from mentor_kit.demonstration import Demonstration, Teacher
from mentor_kit.errors import DataError, UsageError
from mentor_kit.record import Json
from mentor_kit.rollout import run_async
from mentor_kit.task import TRAIN, Problem, boxed_answer
from mentor_kit.tool import Tool

#: How many problems are looked at for each that is wanted, for one on which the teacher uses several tools.
_CHOICE = 8


@dataclass(frozen=True)
class Ground:
    """One problem, as attacks need it. Texts are without the stop token."""

    problem: Problem
    tools: Mapping[str, Tool]
    demonstrations: tuple[Demonstration, ...]
    calls: tuple[ToolCall, ...]
    """The teacher's executed calls, in order."""
    work: tuple[str, ...]
    """The teacher's turns before the answer, as raw text."""
    right: str
    """The teacher's last turn."""
    wrong: str
    """A last turn as an honest student would write it who is wrong."""

    @property
    def called(self) -> str:
        """All calls of the teacher, as one turn would make them."""
        return "\n".join(call_text(call.name, call.arguments) for call in self.calls)

    @property
    def names(self) -> tuple[str, ...]:
        """The tools that the teacher used, each once."""
        return tuple(dict.fromkeys(call.name for call in self.calls))

    @property
    def right_value(self) -> str:
        r"""What stands in the right answer's box; empty where the task wants no `\boxed{…}`."""
        return boxed_answer(self.right) or ""

    @property
    def wrong_value(self) -> str:
        """What stands in the wrong answer's box."""
        return boxed_answer(self.wrong) or ""

    def each_call(self, write: Callable[[ToolCall], str]) -> str:
        """The teacher's calls, each written in another way."""
        return "\n".join(write(call) for call in self.calls)

    def honest(self, *, right: bool) -> Script:
        """The teacher's work, with the right or a wrong answer."""
        return self.script([*map(said, self.work), said(self.right if right else self.wrong)])

    def twin(self, executed: Sequence[tuple[str, Mapping[str, Json]]], *, right: bool) -> Script:
        """An honest attempt with exactly these calls, made in one turn, and then an answer."""
        made = [said("\n".join(call_text(name, arguments) for name, arguments in executed))] if executed else []
        return self.script([*made, said(self.right if right else self.wrong)])

    def script(self, turns: Sequence[str]) -> Script:
        """A script for this problem."""
        return Script(self.problem, tuple(turns))


def said(text: str) -> str:
    """A turn that the model finished by itself."""
    return text + END


def call_text(name: Json, arguments: Json) -> str:
    """A call as Hermes' form has it; name and arguments may be any JSON."""
    return call_written(json.dumps(name, ensure_ascii=False), json.dumps(arguments, ensure_ascii=False))


def call_written(name: str, arguments: str) -> str:
    """The same with name and arguments written already, as JSON or as anything else."""
    return f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'


def find_grounds(world: World, teacher: Teacher, count: int, seed: int) -> list[Ground]:
    """Problems of the training split which the teacher solves; those with several tools first.

    Raises:
        UsageError: the task has fewer than two training problems.
        DataError: the teacher solves none, or no wrong answer can be made up.
    """
    problems = world.task.problems(TRAIN, seed, max(2, _CHOICE * count))
    if len(problems) < 2:
        raise UsageError("an audit needs two training problems, one for the other's wrong answer")
    shown = [one for one in _demonstrated(teacher, problems) if one.correct and one.trajectory is not None]
    if not shown:
        raise DataError(
            f"the teacher {teacher.name!r} solves none of {len(problems)} problems with its calls written down",
            hint="an audit plays what the teacher shows: take a teacher that plays the problems, such as `scripted`",
        )
    first = {one.problem_id: one for one in reversed(shown)}
    solved = [(problem, first[problem.id]) for problem in problems if problem.id in first]
    solved.sort(key=lambda pair: -min(len(set(pair[1].tools_used)), 2))
    answers = [one.trajectory.final_text for _, one in solved if one.trajectory is not None]
    grounds = [_ground(problem, one, shown, world) for problem, one in solved[:count]]
    return [_with_wrong_answer(ground, answers, world) for ground in grounds]


def _demonstrated(teacher: Teacher, problems: Sequence[Problem]) -> list[Demonstration]:
    async def gather() -> list[Demonstration]:
        by_id = {problem.id: problem for problem in problems}
        return [one.about(by_id[one.problem_id]) async for one in teacher.demonstrate(problems)]

    return run_async(gather())


def _ground(problem: Problem, one: Demonstration, shown: Sequence[Demonstration], world: World) -> Ground:
    turns = one.trajectory.turns if one.trajectory is not None else ()
    return Ground(
        problem=problem,
        tools=world.toolbox.tools(problem),
        demonstrations=tuple(other for other in shown if other.problem_id == problem.id),
        calls=one.trajectory.executed if one.trajectory is not None else (),
        work=tuple(_written(turn) for turn in turns[:-1]),
        right=_written(turns[-1]),
        wrong="",
    )


def _written(turn: Message) -> str:
    """A turn as raw text in Hermes' form."""
    reasoning = f"<think>\n{turn.reasoning}\n</think>\n" if turn.reasoning else ""
    calls = [call_text(call.name, call.arguments) for call in turn.tool_calls]
    return reasoning + "\n".join([*([turn.content] if turn.content else []), *calls])


def _with_wrong_answer(ground: Ground, answers: Sequence[str], world: World) -> Ground:
    """The ground with another problem's answer as its wrong one, and the honest attempts checked."""
    (right,) = world.play([ground.honest(right=True)])
    if not right.trajectory.correct:
        raise DataError(
            f"the teacher's work on problem {ground.problem.id!r} is not right when it is played as text",
            hint="audits write calls in Hermes' form, and play within the recipe's `rollout` limits",
        )
    for answer in dict.fromkeys(answers):
        wrong = replace(ground, wrong=answer)
        (played,) = world.play([wrong.honest(right=False)])
        if played.trajectory.answer and not played.trajectory.correct:
            return wrong
    raise DataError(f"no other problem's answer is a wrong one for problem {ground.problem.id!r}")
