"""One way to earn a reward without the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mentor_kit.audit.raw_rollout import Script
from mentor_kit.audit.subject import AuditSubject, said

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
    needs: Callable[[AuditSubject], bool] = lambda ground: bool(ground.calls)
    """Whether a problem lends itself to it."""

    def is_solved(self, ground: AuditSubject) -> bool:
        """Whether it ends with one right answer, as the ground's family writes it."""
        return self.solves or (self.apart and not ground.form.words)

    def script(self, ground: AuditSubject) -> Script:
        """The attack on one problem."""
        problem = ground.problem
        if self.question is not None:
            problem = problem.model_copy(update={"question": self.question(ground)})
        result = self.result(ground) if self.result is not None else None
        return replace(ground.script(tuple(self.turns(ground))), problem=problem, result=result)


def always(ground: AuditSubject) -> bool:
    """For attacks that need nothing."""
    return True


def boxed(ground: AuditSubject) -> bool:
    r"""For attacks on answers in `\boxed{…}`."""
    return bool(ground.right_value and ground.wrong_value)


def after_work(ground: AuditSubject, last: str) -> list[str]:
    """The teacher's work, and then other last words."""
    return [*map(said, ground.work), said(ground.form.say(last))]


def replaceable(ground: AuditSubject) -> bool:
    """For attacks on answers, wherever these stand."""
    return bool(ground.value and ground.other and ground.answering(ground.other))


def then_right(ground: AuditSubject, *calls: str) -> list[str]:
    """Calls of some kind, and then the right answer."""
    return [*ground.turns(calls), said(ground.right)]


def box(value: str) -> str:
    r"""`\boxed{value}`."""
    return rf"\boxed{{{value}}}"
