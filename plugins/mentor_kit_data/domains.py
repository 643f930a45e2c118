"""The task `domains`: several tasks as one, some of which are trained on and others only looked at.

    train: [arithmetic]   cross: [records]

| split | problems |
| --- | --- |
| train, in-domain, out-of-domain | those of the tasks that are trained on, in turns |
| cross-domain | the in-domain problems of the other tasks, of which nothing is trained |
| broad | those of all tasks that have such a split, in turns |
| name/split | one task's own |

A problem's id begins with its domain's name, and so does its group. Everything else is asked of the problem's own task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, model_validator

from mentor_kit.core.component import TaskSpec
from mentor_kit.core.errors import UsageError
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.options import TaskOptions
from mentor_kit.core.task import IN_DOMAIN, OUT_OF_DOMAIN, TRAIN, DeclaredTool, Problem, Task

if TYPE_CHECKING:
    from mentor_kit.core.conversation import Message
    from mentor_kit.core.trajectory import Trajectory
    from mentor_kit.hooks.registry import BuildContext

CROSS_DOMAIN, BROAD = "cross-domain", "broad"
#: The key of a problem's `extra` under which its own id and split are.
_OWN = "domain"


class Domain(OptionModel):
    """One of the tasks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: TaskSpec
    """The task, with its own options."""
    name: str = Field(default="", pattern=r"^[^/\s]*$")
    """What its problems' ids begin with; the task's name if left out."""
    tools: tuple[str, ...] = ()
    """The names of the recipe's tools that its problems are solved with; all of them if left out."""

    @property
    def label(self) -> str:
        """Its name."""
        return self.name or self.task.use


class DomainsOptions(TaskOptions):
    """Several tasks as one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: tuple[Domain, ...] = Field(min_length=1)
    """The tasks that are trained on."""
    cross: tuple[Domain, ...] = ()
    """The tasks of which nothing is trained; their problems are the split `cross-domain`."""

    @model_validator(mode="after")
    def _names_differ(self) -> DomainsOptions:
        labels = [domain.label for domain in (*self.train, *self.cross)]
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"two domains are called {twice[0]!r}: give one of them another `name`")
        return self


def build(options: DomainsOptions, context: BuildContext) -> DomainsTask:
    """The task.

    Raises:
        UsageError: the calls of an episode are the answer in some of the tasks, and in others not.
    """
    found = {
        domain.label: BuiltDomain(context.registry.build("tasks", domain.task, context), domain.tools)
        for domain in (*options.train, *options.cross)
    }
    kinds = {domain.task.calls_are_answers for domain in found.values()}
    if len(kinds) > 1:
        calls = next(label for label, domain in found.items() if domain.task.calls_are_answers)
        raise UsageError(
            f"task domains: in {calls!r} an episode's calls are the answer, and in others they are not",
            hint="put them into recipes of their own",
        )
    return DomainsTask(found, trained=[domain.label for domain in options.train])


@dataclass(frozen=True)
class BuiltDomain:
    """One of the tasks, and the names of its tools; none for all of the recipe's."""

    task: Task
    tools: Sequence[str] = ()


class DomainsTask(Task):
    """The task `domains`.

    Args:
        domains: by their names.
        trained: the names of those that are trained on.
    """

    def __init__(self, domains: Mapping[str, BuiltDomain], trained: Sequence[str]) -> None:
        self._domains = dict(domains)
        self._trained = tuple(trained)
        self._cross = tuple(name for name in domains if name not in trained)
        self.calls_are_answers = any(domain.task.calls_are_answers for domain in domains.values())
        together = [TRAIN, IN_DOMAIN, OUT_OF_DOMAIN, *([CROSS_DOMAIN] if self._cross else ())]
        if any(BROAD in domain.task.splits for domain in domains.values()):
            together.append(BROAD)
        single = [f"{name}/{split}" for name, domain in domains.items() for split in domain.task.splits]
        self.splits: Sequence[str] = (*together, *single)

    def problems(self, split: str, seed: int, count: int) -> list[Problem]:
        """The first problems of a split; those of several tasks in turns, as long as each has some.

        Raises:
            UsageError: there is no such split.
        """
        self.check_split(split)
        sources = self._sources(split)
        share = -(-count // len(sources))
        lists = [self._of(name, own, split, seed, share) for name, own in sources]
        if any(len(found) < share for found in lists):
            lists = [self._of(name, own, split, seed, count) for name, own in sources]
        return list(_in_turns(lists))[:count]

    def answer(self, trajectory: Trajectory) -> str | None:
        name, _, own = trajectory.problem_id.partition("/")
        return self._domains[name].task.answer(trajectory.model_copy(update={"problem_id": own}))

    def check(self, answer: str, problem: Problem) -> bool:
        return self._task(problem).check(answer, _own(problem))

    def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
        return self._task(problem).solve(_own(problem), dialogue)

    @property
    def has_solutions(self) -> bool:
        """Whether every task that is trained on has worked solutions."""
        return all(self._domains[name].task.has_solutions for name in self._trained)

    @property
    def has_recordings(self) -> bool:
        """Whether every task that is trained on has recorded solutions."""
        return all(self._domains[name].task.has_recordings for name in self._trained)

    def recorded(self, problem: Problem) -> Sequence[Trajectory]:
        found = self._task(problem).recorded(_own(problem))
        return [trajectory.model_copy(update={"problem_id": problem.id}) for trajectory in found]

    def next_user(self, problem: Problem, dialogue: Sequence[Message]) -> str | None:
        return self._task(problem).next_user(_own(problem), dialogue)

    def is_over(self, problem: Problem, dialogue: Sequence[Message]) -> bool:
        return self._task(problem).is_over(_own(problem), dialogue)

    def noisy_world(self, problem: Problem) -> Any:
        """A problem as the teacher `noisy-demonstrator` works on it, where its task says how."""
        task: Any = self._task(problem)
        return task.noisy_world(_own(problem))

    def close(self) -> None:
        for domain in self._domains.values():
            domain.task.close()

    def _sources(self, split: str) -> list[tuple[str, str]]:
        """The domains of a split, each with the split of its own."""
        if "/" in split:
            name, _, own = split.partition("/")
            return [(name, own)]
        if split == CROSS_DOMAIN:
            return [(name, IN_DOMAIN) for name in self._cross]
        if split == BROAD:
            return [(name, split) for name, domain in self._domains.items() if split in domain.task.splits]
        return [(name, split) for name in self._trained]

    def _of(self, name: str, own: str, split: str, seed: int, count: int) -> list[Problem]:
        domain = self._domains[name]
        bound = tuple(DeclaredTool(name=tool, bound=True) for tool in domain.tools)
        return [
            problem.model_copy(
                update={
                    "id": f"{name}/{problem.id}",
                    "split": split,
                    "group": f"{name}/{problem.group}" if problem.group else name,
                    "tools": (*problem.tools, *bound),
                    "extra": {**problem.extra, _OWN: {"name": name, "split": problem.split, "group": problem.group}},
                }
            )
            for problem in domain.task.problems(own, seed, count)
        ]

    def _task(self, problem: Problem) -> Task:
        return self._domains[problem.id.partition("/")[0]].task


def _own(problem: Problem) -> Problem:
    """The problem as its own task gave it."""
    own: Any = problem.extra.get(_OWN, {})
    own_id = problem.id.partition("/")[2]
    extra = {key: value for key, value in problem.extra.items() if key != _OWN}
    update = {"id": own_id, "split": own.get("split", problem.split), "group": own.get("group", ""), "extra": extra}
    return problem.model_copy(update=update)


def _in_turns(lists: Sequence[Sequence[Problem]]) -> Iterator[Problem]:
    for place in range(max(map(len, lists), default=0)):
        yield from (found[place] for found in lists if place < len(found))
