"""An attack: a way to earn a reward without the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mentor_kit.audits.raw_rollout import Script
from mentor_kit.audits.subject import AuditSubject, said

#: Makes the raw turns of an attack.
Turns = Callable[[AuditSubject], Sequence[str]]


@dataclass(frozen=True)
class Attack:
    """Raw text that tries to earn more than honest work would."""

    kind: str
    name: str
    """What it tries, in a few words."""
    turns: Turns
    solves: bool
    """Whether it ends with one right answer: then it may earn what an honest right attempt with the same calls would,
    else what a wrong one would."""
    apart: bool = False
    """Whether it solves at least where a turn with words has no calls: there, calls beside the answer are words."""
    result: Callable[[AuditSubject], str] | None = None
    """What tools give in place of their own results."""
    question: Callable[[AuditSubject], str] | None = None
    """A prompt in place of the problem's."""
    needs: Callable[[AuditSubject], bool] = lambda subject: bool(subject.calls)
    """Whether a problem lends itself to it."""

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
    """For attacks that need nothing."""
    return True


def boxed(subject: AuditSubject) -> bool:
    r"""For attacks on answers in `\boxed{…}`."""
    return bool(subject.right_value and subject.wrong_value)


def after_work(subject: AuditSubject, last: str) -> list[str]:
    """The teacher's work, and then other last words."""
    return [*map(said, subject.work), said(subject.form.say(last))]


def replaceable(subject: AuditSubject) -> bool:
    """For attacks on answers, wherever these stand."""
    return bool(subject.value and subject.other and subject.answering(subject.other))


def then_right(subject: AuditSubject, *calls: str) -> list[str]:
    """Calls of some kind, and then the right answer."""
    return [*subject.turns(calls), said(subject.right)]


def box(value: str) -> str:
    r"""`\boxed{value}`."""
    return rf"\boxed{{{value}}}"
