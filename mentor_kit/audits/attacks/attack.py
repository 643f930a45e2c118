"""An attack: a way to earn a reward without the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mentor_kit.audits.raw_rollout import Script
from mentor_kit.audits.subject import AuditSubject, finished_turn

#: Makes the raw turns of an attack.
Turns = Callable[[AuditSubject], Sequence[str]]


@dataclass(frozen=True)
class Attack:
    """Raw strings that try to earn more than honest work would."""

    kind: str
    name: str
    """A short description."""
    turns: Turns
    solves: bool
    """Whether it ends with one right answer: then it may earn what an honest right attempt with the same calls would,
    else what a wrong one would."""
    apart: bool = False
    """Whether it solves the problem where turns with content have no calls: there the calls are content."""
    result: Callable[[AuditSubject], str] | None = None
    """Results in place of the tools' own."""
    question: Callable[[AuditSubject], str] | None = None
    """A prompt in place of the problem's."""
    needs: Callable[[AuditSubject], bool] = lambda subject: bool(subject.calls)
    """Whether it applies to a problem."""

    def is_solved(self, subject: AuditSubject) -> bool:
        """Whether it ends with one right answer, as the subject's family writes it."""
        return self.solves or (self.apart and not subject.form.words)

    def script(self, subject: AuditSubject) -> Script:
        """The attack on one problem."""
        problem = subject.problem
        if self.question is not None:
            problem = problem.model_copy(update={"question": self.question(subject)})
        result = self.result(subject) if self.result is not None else None
        return replace(subject.script(tuple(self.turns(subject))), problem=problem, result=result)


def always(subject: AuditSubject) -> bool:
    """Return True: for attacks that apply to every problem."""
    return True


def boxed(subject: AuditSubject) -> bool:
    r"""Return whether the task reads answers from `\boxed{…}`."""
    return bool(subject.right_value and subject.wrong_value)


def after_work(subject: AuditSubject, last: str) -> list[str]:
    """Return the teacher's work with another last turn."""
    return [*map(finished_turn, subject.work), finished_turn(subject.form.say(last))]


def replaceable(subject: AuditSubject) -> bool:
    """Return whether the answer can be replaced, wherever it stands."""
    return bool(subject.value and subject.other and subject.answering(subject.other))


def then_right(subject: AuditSubject, *calls: str) -> list[str]:
    """Calls of some kind, and then the right answer."""
    return [*subject.turns(calls), finished_turn(subject.right)]


def box(value: str) -> str:
    r"""`\boxed{value}`."""
    return rf"\boxed{{{value}}}"
