"""The task `reasoning-gym`: the package's problem generators, with exact checking.

The package's own scorers pay for answers that merely contain the right one; here an answer is right when it is
the same number, or else the same text. So take generators whose problems have one right answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, Field

from mentor_kit.core.errors import UsageError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.options import TaskOptions
from mentor_kit.core.task import IN_DOMAIN, OUT_OF_DOMAIN, TRAIN, Problem, Task, boxed_answer
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.recipe.shorthand import FromName
from mentor_kit.utils.randomness import derive_seed
from mentor_kit_data.checking import NumberChecker, TextChecker, read_number

#: Repeated problems in a row after which a generator has no new ones.
_PATIENCE = 200
#: Problems of one generator that are made at once.
_BLOCK = 1 << 20


class Generator(FromName):
    """A generator and its options."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True)

    name: str
    """Its name, such as `chain_sum`; the package's documentation lists them all."""
    config: dict[str, Json] = {}
    """The generator's own options, such as `{max_terms: 3}`."""


class GymOptions(TaskOptions):
    """Problems that reasoning-gym makes."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    generators: tuple[Generator, ...] = Field(min_length=1)
    """Generators of training and in-domain problems, in turn: names, or `{name: …, config: {…}}`."""
    out_of_domain: tuple[Generator, ...] = ()
    """Generators of out-of-domain problems, such as the same ones with harder options; no such split if left out."""
    evaluation: int = Field(default=200, gt=0)
    """How many problems an evaluation split has; none of them occurs in training."""
    system: str = r"Give the final answer in \boxed{}."
    """A system message for every problem."""

    @property
    def task_splits(self) -> Sequence[str]:
        """The task's splits."""
        return (TRAIN, IN_DOMAIN, *((OUT_OF_DOMAIN,) if self.out_of_domain else ()))


def build(options: GymOptions, context: BuildContext) -> GymTask:
    """The task.

    Raises:
        UsageError: there is no such generator, or it has no such option.
    """
    for generator in (*options.generators, *options.out_of_domain):
        _made(generator, seed=0, size=1)
    return GymTask(options)


class GymTask(Task):
    """The task `reasoning-gym`: training problems follow from the seed, evaluation problems are always the same."""

    def __init__(self, options: GymOptions) -> None:
        self.splits = options.task_splits
        self._options = options
        self._number = NumberChecker()
        self._text = TextChecker()
        self._held_out: frozenset[str] | None = None

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        if split != TRAIN:
            return list(itertools.islice(self._evaluation(split), min(count, self._options.evaluation)))
        if self._held_out is None:
            splits = self.splits[1:]
            self._held_out = frozenset(
                p.question for s in splits for p in self.problems(s, 0, self._options.evaluation)
            )
        found = _distinct(self._stream(TRAIN, self._options.generators, seed), self._held_out)
        return list(itertools.islice(found, count))

    def answer(self, trajectory: Trajectory) -> str | None:
        return boxed_answer(trajectory.final_text)

    def check(self, answer: str, problem: Problem) -> bool:
        key = problem.answer
        number = read_number(key) is not None and self._number.check(answer, key)
        return number or self._text.check(answer, key)

    def _evaluation(self, split: str) -> Iterator[Problem]:
        generators = self._options.generators if split == IN_DOMAIN else self._options.out_of_domain
        return _distinct(self._stream(split, generators, 0), frozenset())

    def _stream(self, split: str, generators: Sequence[Generator], seed: int) -> Iterator[Problem]:
        """Problems of the generators in turn, without end; repetitions too."""
        # neighbouring seeds of a generator share problems, so each split and seed has a place of its own
        makers = [
            _made(generator, seed=derive_seed(seed, "reasoning-gym", split, place) >> 33, size=_BLOCK)
            for place, generator in enumerate(generators)
        ]
        for index in range(_BLOCK):
            for place, (generator, make) in enumerate(zip(generators, makers, strict=True)):
                entry = make(index)
                yield Problem(
                    id=f"{split}/{place}-{generator.name}/{seed}-{index}",
                    question=str(entry["question"]),
                    answer=str(entry["answer"]),
                    split=split,
                    group=generator.name,
                    system=self._options.system,
                )


def _distinct(problems: Iterator[Problem], without: frozenset[str]) -> Iterator[Problem]:
    """Each question once, and none of `without`; ends when a long stretch has nothing new."""
    seen = set(without)
    stale = 0
    for problem in problems:
        if problem.question in seen:
            stale += 1
            if stale > _PATIENCE:
                return
            continue
        stale = 0
        seen.add(problem.question)
        yield problem


def _made(generator: Generator, *, seed: int, size: int) -> Callable[[int], Mapping[str, Any]]:
    """A generator's problem by its number."""
    from reasoning_gym import create_dataset
    from reasoning_gym.factory import DATASETS

    if generator.name not in DATASETS:
        raise UsageError(
            f"reasoning-gym has no generator {generator.name!r}{did_you_mean(generator.name, DATASETS)}",
            hint="its documentation shows all of them",
        )
    try:
        made = create_dataset(generator.name, seed=seed, size=size, **generator.config)
    except (TypeError, ValueError, AssertionError) as error:
        raise UsageError(f"reasoning-gym, generator {generator.name!r}: {error}", hint="see its `config`") from None

    def entry(index: int) -> Mapping[str, Any]:
        found: Mapping[str, Any] = made[index]
        return found

    return entry
