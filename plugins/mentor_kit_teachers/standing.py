"""Decides whether an unanswered dialogue ends its episode or, as the recipe's or server's fault, the run.

A dialogue that the server answered before is at fault itself. One that was refused from its first request on is, too,
once any other request of this form (teacher and parameters) is answered, now or in an earlier run; if none ever is,
the recipe's requests are at fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mentor_kit_teachers.answers import Answers
from mentor_kit_teachers.retry import GaveUp, Rejected

FAULTS = (Rejected, GaveUp)
Fault = Rejected | GaveUp

#: First requests that may be refused, with none answered, before no more are sent.
_REFUSED = 8
#: Problems in a row without an answer after which the server is at fault.
_SILENT = 3


@dataclass
class Standing:
    """The record of a server's answers."""

    answers: Answers
    form: str
    """A hash of the teacher and its parameters."""
    _refused: dict[str, Fault] = field(default_factory=dict)
    """By problem: first requests that were refused before any was answered."""
    _silent: set[str] = field(default_factory=set)
    """Problems that got no answer since the last request that was answered."""
    _answered: bool = False

    def answered(self) -> None:
        """A request was answered, now or earlier."""
        self._silent.clear()
        if not self._answered:
            self._answered = True
            self._refused.clear()
            self.answers.keep_answered(self.form)

    def excuse(self, fault: Fault, problem: str, *, first: bool) -> None:
        """Return if the fault ends its own episode alone; `verdict` may still hold first requests against all.

        Args:
            fault: the fault of a request of that problem.
            problem: its id.
            first: whether it is the dialogue's first request.

        Raises:
            Rejected, GaveUp: the fault, as it is not the dialogue's.
        """
        if isinstance(fault, GaveUp):
            self._silent.add(problem)
            if not fault.own or len(self._silent) >= _SILENT:
                raise fault
        elif not fault.of_dialogue:
            raise fault
        elif fault.too_long:
            return
        if first and not self._known():
            self._refused[problem] = fault
            if len(self._refused) >= _REFUSED:
                raise fault

    def verdict(self) -> Fault | None:
        """Return the first fault, if requests were refused and none was answered; none may be under way."""
        return None if self._known() else next(iter(self._refused.values()), None)

    def _known(self) -> bool:
        return self._answered or self.answers.has_answered(self.form)
