"""Problems, and the base class of tasks, which supply problems and check answers."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mentor_kit.core.conversation import Message, user
from mentor_kit.core.errors import UsageError, did_you_mean
from mentor_kit.core.frozen_model import FrozenModel, Json
from mentor_kit.core.tool import Tool

if TYPE_CHECKING:
    from mentor_kit.core.trajectory import Trajectory

#: The splits every task has; a task may have more (`Task.splits`).
TRAIN, IN_DOMAIN, OUT_OF_DOMAIN = "train", "in-domain", "out-of-domain"

_BOX = re.compile(r"\\boxed\s*\{")
_BRACE = re.compile(r"[{}]")


class NoSolution(Exception):
    """Raised by `Task.solve` for a problem whose worked solution cannot be played; the message says why.

    The teacher `scripted` then has no demonstration for the problem, and names it in a warning.
    """


class DeclaredTool(FrozenModel):
    """A tool that belongs to one problem: declared only, and never run (function-calling evaluations)."""

    name: str
    description: str = ""
    parameters: dict[str, Json] = {"type": "object", "properties": {}}
    bound: bool = False
    """Whether the recipe's tool of this name, where there is one, takes its place and is run. A problem with bound
    tools has no other tools of the recipe."""


class Problem(FrozenModel):
    """A question and its answer key.

    `id` is unique within a task and says nothing about the machine or the run: the same task, split, seed
    and position give the same id everywhere.
    """

    id: str
    question: str
    answer: str
    """The answer key, in a form that the task defines; never shown to an agent."""
    split: str = TRAIN
    group: str = ""
    """A finer label inside the split (a kind of problem), by which evaluations may break results down."""
    system: str = ""
    """A system message for this problem; empty for none."""
    history: tuple[Message, ...] = ()
    """The messages of user and assistant before the question."""
    tools: tuple[DeclaredTool, ...] = ()
    extra: dict[str, Json] = {}
    """Further data for the task's methods."""

    def declared_tools(self) -> list[Tool]:
        """The problem's own tools, declared only."""
        return [Tool.declared(tool.name, tool.description, tool.parameters) for tool in self.tools]

    def opening(self) -> tuple[Message, ...]:
        """Return the messages that a dialogue about this problem starts with."""
        first = (Message(role="system", content=self.system),) if self.system else ()
        return (*first, *self.history, user(self.question))


class Task(ABC):
    """Base class of tasks: where problems come from, and what counts as solving them.

    A task implements `problems`, `answer` and `check`; everything else is optional. Problems are deterministic by
    split and seed.
    """

    splits: Sequence[str] = (TRAIN, IN_DOMAIN, OUT_OF_DOMAIN)
    """The names of the splits, `train` among them."""
    calls_are_answers: bool = False
    """Whether the calls of an episode are its answer, as in benchmarks of function calling: they are checked, not run.
    `answer` is then called however the episode ended, and may return None."""

    @abstractmethod
    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        """Return the first `count` problems of a split's sequence for `seed`; fewer where the split has fewer.

        A longer call starts with a shorter one's problems. Evaluation splits may ignore the seed.
        """

    def check_split(self, split: str) -> None:
        """Check that there is such a split.

        Raises:
            UsageError: there is none.
        """
        if split not in self.splits:
            raise UsageError(
                f"the task has no split {split!r}{did_you_mean(split, self.splits)}",
                hint=f"its splits are: {', '.join(self.splits)}",
            )

    @abstractmethod
    def answer(self, trajectory: Trajectory) -> str | None:
        """Return the final answer in the trajectory's last assistant turn; None if there is none."""

    @abstractmethod
    def check(self, answer: str, problem: Problem) -> bool:
        """Return whether an answer is correct. Must be quick and not raise, whatever the string."""

    def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
        """Return the next assistant message of a worked solution; optional, for the teacher `scripted`.

        Args:
            problem: the problem to solve.
            dialogue: the messages so far, results of tools included.

        Raises:
            NoSolution: the problem has none that can be played.
        """
        raise NotImplementedError(f"{type(self).__name__} has no worked solutions")

    @property
    def has_solutions(self) -> bool:
        """Whether the task has worked solutions; by default, whether it overrides `solve`."""
        return type(self).solve is not Task.solve

    def recorded(self, problem: Problem) -> Sequence[Trajectory]:
        """Return recorded solutions of a problem, right or wrong; optional, for the teacher `recorded`.

        For tasks whose rows have them. Whether they are right is judged by `answer` and `check`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no recorded solutions")

    @property
    def has_recordings(self) -> bool:
        """Whether the task overrides `recorded`."""
        return type(self).recorded is not Task.recorded

    def next_user(self, problem: Problem, dialogue: Sequence[Message]) -> str | None:
        """Return the user's next message after a turn without tool calls; None, the default, ends the episode."""
        return None

    def is_over(self, problem: Problem, dialogue: Sequence[Message]) -> bool:
        """Whether the episode ends with the assistant's turn at the end of the dialogue, before its calls are run.

        Asked only where `calls_are_answers`.
        """
        return False

    def close(self) -> None:
        """Free what the task holds, such as worker processes, when the run is over. May be called twice."""
        return None


def boxed_answer(text: str) -> str | None:
    r"""The content of `\boxed{…}` in a string, with balanced braces, stripped of outer whitespace.

    None when there is no box, a box is empty or not closed, or several boxes differ: one answer is asked
    for, and a list of candidates is none. Linear in the length of the text.
    """
    found: set[str] = set()
    for opening in _BOX.finditer(text):
        content = _balanced(text, opening.end())
        if content is None or not content.strip():
            return None
        found.add(content.strip())
        if len(found) > 1:
            return None
    return found.pop() if found else None


def _balanced(text: str, start: int) -> str | None:
    """Return the string from `start` to the matching closing brace; None if there is none."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return text[start : brace.start()]
    return None
