"""Demonstrations: teachers' solutions of problems, which the paper calls reference trajectories."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from mentor_kit.core.conversation import CallState, Message, user
from mentor_kit.core.frozen_model import FrozenModel, Json
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory


class Demonstration(FrozenModel):
    """A teacher's trajectory for a problem, or at least the names of the tools it used.

    Recorded data sets often keep only the names of the tools (the authors' `tool_calls_used`); then
    `trajectory` is None, and stages that imitate (SFT) refuse the demonstration while rewards accept it.
    """

    problem_id: str
    teacher: str
    tools_used: tuple[str, ...]
    """Names of the executed calls, in order, with repetitions."""
    correct: bool = True
    """The task's verdict on the teacher's answer."""
    trajectory: Trajectory | None = None
    provenance: dict[str, Json] = {}
    """Where it comes from: teacher's options, model, file and row, cost; never a secret."""

    @staticmethod
    def of(trajectory: Trajectory, *, teacher: str, provenance: dict[str, Json] | None = None) -> Demonstration:
        """Return the demonstration made from a teacher's trajectory, without the teacher's tokens."""
        return Demonstration(
            problem_id=trajectory.problem_id,
            teacher=teacher,
            tools_used=trajectory.tools_used,
            correct=trajectory.correct,
            trajectory=trajectory.model_copy(update={"tokens": None}),
            provenance=provenance or {},
        )

    def about(self, problem: Problem) -> Demonstration:
        """Return the demonstration with the index of the first message after the problem's opening.

        A dialogue that was led here has it. In one from elsewhere the work begins after the problem's question, where
        the problem's history stands before it; a dialogue without that history is all work.
        """
        trajectory = self.trajectory
        if trajectory is None or trajectory.opening or not problem.history:
            return self
        opening = _opening_of(problem, trajectory.messages)
        if not opening:
            return self
        begun = trajectory.model_copy(update={"opening": opening})
        return self.model_copy(update={"trajectory": begun, "tools_used": begun.tools_used})

    @property
    def label(self) -> str:
        """The demonstration's name in messages: its problem, its teacher, and its place in a file if known."""
        file, line, row = (self.provenance.get(key) for key in ("file", "line", "row"))
        place = f" ({file}:{line})" if file and line else f" ({file}, row {row})" if file and row else ""
        return f"the demonstration of problem {self.problem_id!r} by {self.teacher!r}{place}"

    def fault(self, tools: Collection[str]) -> str | None:
        """Return why the demonstration cannot be imitated, as far as is known without tokens; None if it can.

        Args:
            tools: the names of the problem's tools.
        """
        if self.trajectory is None:
            return "it has no dialogue to imitate, only the names of tools"
        if not self.trajectory.turns:
            return "the assistant says nothing in its dialogue"
        for call in self.trajectory.calls:
            if call.state is CallState.MALFORMED:
                return f"it has a malformed call{f' of {call.name!r}' if call.name else ''}"
            if call.name not in tools:
                return f"it calls {call.name!r}, which is no tool of the recipe"
        return None


def _opening_of(problem: Problem, messages: Sequence[Message]) -> int:
    """Return the number of opening messages: the system message if any, the history, the question."""
    wanted = [(message.role, _squeezed(message.content)) for message in (*problem.history, user(problem.question))]
    start = sum(message.role == "system" for message in messages[:1])
    end = start + len(wanted)
    found = [(message.role, _squeezed(message.content)) for message in messages[start:end]]
    return end if found == wanted else 0


def _squeezed(text: str) -> str:
    return " ".join(text.split())


class Demonstrations:
    """Demonstrations by problem, for rewards and SFT."""

    def __init__(self, demonstrations: Iterable[Demonstration] = ()) -> None:
        self._by_problem: dict[str, list[Demonstration]] = {}
        for demonstration in demonstrations:
            self.add(demonstration)

    def add(self, demonstration: Demonstration) -> None:
        """Add a demonstration."""
        self._by_problem.setdefault(demonstration.problem_id, []).append(demonstration)

    def of(self, problem: Problem) -> Sequence[Demonstration]:
        """Return a problem's demonstrations in the order they were added; empty if there are none."""
        return self.of_id(problem.id)

    def of_id(self, problem_id: str) -> Sequence[Demonstration]:
        """Return the demonstrations of the problem with this id; see `of`."""
        return self._by_problem.get(problem_id, [])

    def right(self, problem_id: str) -> Sequence[Demonstration]:
        """Return the problem's demonstrations with a correct answer, in the order they were added."""
        return [demonstration for demonstration in self.of_id(problem_id) if demonstration.correct]

    def __len__(self) -> int:
        return sum(len(found) for found in self._by_problem.values())

    def __iter__(self) -> Iterator[Demonstration]:
        return (demonstration for found in self._by_problem.values() for demonstration in found)
