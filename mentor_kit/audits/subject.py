"""The subject of an audit: a problem, its tools, and honest work on it, right and wrong, as raw strings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mentor_kit.audits.raw_rollout import END, AuditEnvironment, Script
from mentor_kit.chat.forms import Form
from mentor_kit.core.conversation import Message, ToolCall
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import TRAIN, Problem, Task, boxed_answer
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.tool import Tool
from mentor_kit.rollout import run_async

#: Problems examined for each subject, to find ones on which the teacher uses several tools.
_CHOICE = 8


@dataclass(frozen=True)
class AuditSubject:
    """One problem with the strings that attacks are built from; they are without the stop token."""

    problem: Problem
    tools: Mapping[str, Tool]
    form: Form
    """The family's call syntax."""
    demonstrations: tuple[Demonstration, ...]
    calls: tuple[ToolCall, ...]
    """The teacher's executed calls, in order."""
    work: tuple[str, ...]
    """The teacher's turns before the answer, as raw strings."""
    right: str
    """The teacher's last turn."""
    value: str = ""
    """The answer that the task takes from it."""
    wrong: str = ""
    """The last turn of an honest, wrong attempt."""
    other: str = ""
    """The answer that the task takes from that."""

    @property
    def called(self) -> str:
        """All calls of the teacher, as one turn."""
        return self.each_call(self.written)

    @property
    def names(self) -> tuple[str, ...]:
        """The tools that the teacher used, each once."""
        return tuple(dict.fromkeys(call.name for call in self.calls))

    @property
    def right_words(self) -> str:
        """The teacher's last turn without the mark before its words."""
        return self.right.removeprefix(self.form.content_mark)

    @property
    def right_value(self) -> str:
        r"""What stands in the right answer's box; empty where the task wants no `\boxed{…}`."""
        return boxed_answer(self.right) or ""

    @property
    def wrong_value(self) -> str:
        """What stands in the wrong answer's box."""
        return boxed_answer(self.wrong) or ""

    def written(self, call: ToolCall) -> str:
        """A call as the family writes it."""
        return self.form.call(call.name, call.arguments)

    def each_call(self, write: Callable[[ToolCall], str]) -> str:
        """The teacher's calls, each written by `write`."""
        return "\n".join(write(call) for call in self.calls)

    def turns(self, calls: Sequence[str]) -> list[str]:
        """Calls as finished turns: one turn, or one a call where the family writes one call a turn."""
        return [finished_turn(text) for text in _turns_of(calls, self.form)]

    def answering(self, value: str) -> str:
        """The teacher's last turn with another answer in the place of its own; empty if there is no such place."""
        if self.right_value:
            return self.form.say(rf"\boxed{{{value}}}")
        before, found, after = self.right.rpartition(self.value)
        return before + value + after if self.value and found else ""

    def honest(self, *, right: bool) -> Script:
        """The teacher's work, with the right or a wrong answer."""
        return self.script([*map(finished_turn, self.work), finished_turn(self.right if right else self.wrong)])

    def twin(self, executed: Sequence[tuple[str, Mapping[str, Json]]], *, right: bool) -> Script:
        """An honest attempt with exactly these calls, made in one turn if the family can, and then an answer."""
        made = self.turns([self.form.call(name, arguments) for name, arguments in executed])
        return self.script([*made, finished_turn(self.right if right else self.wrong)])

    def script(self, turns: Sequence[str]) -> Script:
        """A script for this problem."""
        return Script(self.problem, tuple(turns))


def finished_turn(text: str) -> str:
    """Return the string with the stop token: a turn that the model ended."""
    return text + END


def _turns_of(calls: Sequence[str], form: Form) -> list[str]:
    return list(calls) if not form.several else ["\n".join(calls)] if calls else []


@dataclass(frozen=True)
class Shown:
    """Problems, and a teacher's right work on them."""

    problems: tuple[Problem, ...]
    """The solved problems, those with several tools first."""
    demonstrations: tuple[Demonstration, ...]

    def first(self, problem: Problem) -> Demonstration:
        """The first demonstration of a problem."""
        return next(one for one in self.demonstrations if one.problem_id == problem.id)


def find_subjects(environment: AuditEnvironment, teacher: Teacher, count: int, seed: int) -> list[AuditSubject]:
    """Return `count` problems of the training split that the teacher solves, in the environment's call syntax.

    Raises:
        UsageError, DataError: as for `show` and `subjects_of`.
    """
    return subjects_of(environment, show(environment.task, teacher, count, seed), count)


def show(task: Task, teacher: Teacher, count: int, seed: int) -> Shown:
    """Return a teacher's work on problems of the training split, enough to choose `count` from.

    Raises:
        UsageError: the task takes calls for answers, or has fewer than two training problems.
        DataError: the teacher solves none.
    """
    if task.calls_are_answers:
        raise UsageError(
            "an audit plays final answers, and this task takes calls for its answers, which are compared exactly",
            hint="audit the reward with a task whose answers are words, such as `--set task=arithmetic`",
        )
    problems = task.problems(TRAIN, seed, max(2, _CHOICE * count))
    if len(problems) < 2:
        raise UsageError("an audit needs two training problems, one for the other's wrong answer")
    demonstrated = [one for one in _demonstrated(teacher, problems) if one.correct and one.trajectory is not None]
    if not demonstrated:
        raise DataError(
            f"the teacher {teacher.name!r} solves none of {len(problems)} problems with its calls written down",
            hint="an audit plays what the teacher shows: take a teacher that plays the problems, such as `scripted`",
        )
    first = {one.problem_id: one for one in reversed(demonstrated)}
    solved = [problem for problem in problems if problem.id in first]
    solved.sort(key=lambda problem: -min(len(set(first[problem.id].tools_used)), 2))
    return Shown(tuple(solved), tuple(demonstrated))


def subjects_of(environment: AuditEnvironment, demonstrated: Shown, count: int) -> list[AuditSubject]:
    """Return the first problems as subjects, in the environment's call syntax.

    Raises:
        DataError: the work is not right when it is run as strings, or no wrong answer is found.
    """
    trajectories = [demonstrated.first(problem).trajectory for problem in demonstrated.problems]
    answers = [trajectory.final_text for trajectory in trajectories if trajectory is not None]
    subjects = [_ground(problem, demonstrated, environment) for problem in demonstrated.problems[:count]]
    return [_with_wrong_answer(subject, answers, environment) for subject in subjects]


def _demonstrated(teacher: Teacher, problems: Sequence[Problem]) -> list[Demonstration]:
    async def gather() -> list[Demonstration]:
        by_id = {problem.id: problem for problem in problems}
        return [one.about(by_id[one.problem_id]) async for one in teacher.demonstrate(problems)]

    return run_async(gather())


def _ground(problem: Problem, demonstrated: Shown, environment: AuditEnvironment) -> AuditSubject:
    one = demonstrated.first(problem)
    turns = one.trajectory.turns if one.trajectory is not None else ()
    return AuditSubject(
        problem=problem,
        tools=environment.toolbox.tools(problem),
        form=environment.form,
        demonstrations=tuple(other for other in demonstrated.demonstrations if other.problem_id == problem.id),
        calls=one.trajectory.executed if one.trajectory is not None else (),
        work=tuple(text for turn in turns[:-1] for text in _written(turn, environment.form)),
        right="\n".join(_written(turns[-1], environment.form)),
    )


def _written(turn: Message, form: Form) -> list[str]:
    """Return a turn as raw strings: several turns where the family writes one call in each."""
    before = form.think(turn.reasoning) if turn.reasoning else ""
    if turn.content and (form.words or not turn.tool_calls):
        before += form.say(turn.content) + ("\n" if turn.tool_calls else "")
    first, *rest = _turns_of([form.call(call.name, call.arguments) for call in turn.tool_calls], form) or [""]
    return [before + first, *rest]


def _with_wrong_answer(subject: AuditSubject, answers: Sequence[str], environment: AuditEnvironment) -> AuditSubject:
    """Return the subject with another problem's answer as its wrong one; checks the honest attempts."""
    (right,) = environment.run_honest([subject.honest(right=True)])
    if not right.trajectory.correct:
        raise DataError(
            f"the teacher's work on problem {subject.problem.id!r} is not right when it is played as text",
            hint="audits write turns as a family of models does, and play within the recipe's `rollout` limits: raise "
            "`rollout.max_turns`, or take another `--family`",
        )
    subject = replace(subject, value=right.trajectory.answer or "")
    for answer in dict.fromkeys(answers):
        wrong = replace(subject, wrong=environment.form.say(answer))
        (attempt,) = environment.run_honest([wrong.honest(right=False)])
        if attempt.trajectory.answer and not attempt.trajectory.correct:
            return replace(wrong, other=attempt.trajectory.answer)
    raise DataError(f"no other problem's answer is a wrong one for problem {subject.problem.id!r}")
