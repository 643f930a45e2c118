"""The arithmetic task: chains of operations in words, with splits that are harder than training.

| split | questions |
| --- | --- |
| train | one or two operations, known wordings, two thirds of the ordered pairs of operations |
| in-domain | the same kind; no text occurs in both |
| out-of-domain | a third each: `compositions` (held-out pairs), `wordings` (others), `longer` (three operations) |
| broad | all of these kinds mixed, for making a student from nothing; shares no text with the evaluation splits |

"Out of domain" refers to the recipe that trains on `train`: the tiny student has met all
wordings and lengths in `broad` before, so what is tested is whether RL's gain carries over.

Two switches add the causes to the task to which the paper attributes its results: with `capacity_gap` the teacher
does most additions, subtractions and sums in its head, which a student cannot imitate; with `blind_check` the favourite
mistake on some operations mostly happens to give the right answer, in training and in-domain but never out of domain.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice, product

from mentor_kit.core.conversation import Message, assistant, call
from mentor_kit.core.task import IN_DOMAIN, OUT_OF_DOMAIN, TRAIN, Problem, Task, boxed_answer
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.utils.held_out import is_for_evaluation, without_a_third
from mentor_kit.utils.randomness import derive_seed
from mentor_kit_math.language import ENDING, OPENING, WORDINGS
from mentor_kit_math.noisy_arithmetic import NoisyArithmetic
from mentor_kit_math.number_reading import read_number
from mentor_kit_math.steps import (
    BLIND,
    IN_THE_HEAD,
    Number,
    Step,
    arguments,
    mistake_is_right,
    result,
    written,
)

COMPOSITIONS, WORDING, LONGER = "compositions", "wordings", "longer"
BROAD = "broad"
LARGEST = 99_999
TOLERANCE = 0.005

#: Shares of steps that the switches change.
HEAD_SHARE, BLIND_SHARE = 0.7, 0.95

_ATTEMPTS = 400


class ArithmeticTask(Task):
    """The task `arithmetic`, with worked solutions.

    Args:
        capacity_gap: the first switch of the module.
        blind_check: the second.
    """

    splits: Sequence[str] = (TRAIN, IN_DOMAIN, OUT_OF_DOMAIN, COMPOSITIONS, WORDING, LONGER, BROAD)

    def __init__(self, *, capacity_gap: bool = False, blind_check: bool = False) -> None:
        self.capacity_gap = capacity_gap
        self.blind_check = blind_check

    def problems(self, split: str, seed: int, count: int) -> list[Problem]:
        """The first problems of a split. Evaluation splits do not depend on the seed; `count` may be any number.

        Raises:
            UsageError: there is no such split.
        """
        self.check_split(split)
        return list(islice(self._stream(split, seed if split in (TRAIN, BROAD) else 0), count))

    def answer(self, trajectory: Trajectory) -> str | None:
        return boxed_answer(trajectory.final_text) if trajectory.ended else None

    def check(self, answer: str, problem: Problem) -> bool:
        found, key = read_number(answer), read_number(problem.answer)
        return found is not None and key is not None and abs(found - key) <= TOLERANCE

    def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
        turns = sum(message.role == "assistant" for message in dialogue[len(problem.opening()) :])
        return self._solution(problem)[turns]

    def noisy_world(self, problem: Problem) -> NoisyArithmetic:
        """A problem as the noisy demonstrator works on it."""
        return NoisyArithmetic(start_of(problem), steps_of(problem))

    def _solution(self, problem: Problem) -> list[Message]:
        """A call for each step that is not done in the head, then the answer."""
        messages, value = [], start_of(problem)
        for index, step in enumerate(steps_of(problem)):
            if not self._in_the_head(problem, index, step):
                given = arguments(step.operation, value, step.operands)
                messages.append(assistant(calls=[call(step.operation, **given)]))
            value = step.value
        return [*messages, assistant(rf"\boxed{{{problem.answer}}}")]

    def _in_the_head(self, problem: Problem, index: int, step: Step) -> bool:
        if not self.capacity_gap or step.operation not in IN_THE_HEAD:
            return False
        return derive_seed(0, "head", problem.id, index) / 2**64 < HEAD_SHARE

    def _stream(self, split: str, seed: int) -> Iterator[Problem]:
        if split == OUT_OF_DOMAIN:
            streams = [self._stream(group, seed) for group in (COMPOSITIONS, WORDING, LONGER)]
            index = 0
            while True:
                yield next(streams[index % 3]).model_copy(update={"split": OUT_OF_DOMAIN})
                index += 1
        chance = random.Random(derive_seed(seed, "arithmetic", split, self.blind_check))
        seen: set[str] = set()
        while True:
            problem = self._draw(split, seed, len(seen), chance)
            if problem.question not in seen:
                seen.add(problem.question)
                yield problem

    def _draw(self, split: str, seed: int, number: int, chance: random.Random) -> Problem:
        """The next problem whose text belongs to the split."""
        while True:
            kind = chance.choice((TRAIN, TRAIN, COMPOSITIONS, WORDING, LONGER)) if split == BROAD else split
            made = self._question(chance, _operations(kind, chance), kind)
            if made is None:
                continue
            start, steps = made
            text = _worded(start, steps, chance, other=kind == WORDING)
            if is_for_evaluation(text) != (split not in (TRAIN, BROAD)):
                continue
            name = f"{split}-{seed}-{number}" if split in (TRAIN, BROAD) else f"{split}-{number}"
            return Problem(
                id=name,
                question=text,
                answer=written(steps[-1].value),
                split=split,
                group=kind if kind in (COMPOSITIONS, WORDING, LONGER) else f"{len(steps)}-step",
                extra={"start": start, "steps": [step.model_dump(mode="json") for step in steps]},
            )

    def _question(
        self, chance: random.Random, operations: Sequence[str], split: str
    ) -> tuple[Number, list[Step]] | None:
        """Start and steps that change the value each time and stay in range, or None if none is found soon."""
        # drawn once, not with every attempt: else chains that meet the rarer condition would be kept more often
        blind = [self._blind(operation, split, chance) for operation in operations]
        for _ in range(_ATTEMPTS):
            start = _start(operations, chance)
            value: Number = start
            steps: list[Step] = []
            for operation, wanted in zip(operations, blind, strict=True):
                step = _step(operation, value, chance)
                if step is None or mistake_is_right(step, value) != wanted:
                    break
                steps.append(step)
                value = step.value
            if len(steps) == len(operations):
                return start, steps
        return None

    def _blind(self, operation: str, split: str, chance: random.Random) -> bool:
        """Whether this step's favourite mistake is to give the right value."""
        inside = split in (TRAIN, IN_DOMAIN)
        return self.blind_check and inside and operation in BLIND and chance.random() < BLIND_SHARE


def start_of(problem: Problem) -> Number:
    """The number a question starts with."""
    start: Number = problem.extra["start"]
    return start


def steps_of(problem: Problem) -> list[Step]:
    """The steps of a question."""
    return [Step.model_validate(step) for step in problem.extra["steps"]]


@lru_cache(maxsize=1)
def pairs() -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """The ordered pairs of operations that can follow each other: those of training, and the third held out."""
    chance = random.Random(derive_seed(0, "pairs"))
    task = ArithmeticTask()
    possible = [pair for pair in product(WORDINGS, WORDINGS) if task._question(chance, pair, LONGER) is not None]
    return without_a_third(possible)


def _operations(split: str, chance: random.Random) -> tuple[str, ...]:
    known, held_out = pairs()
    if split == COMPOSITIONS:
        return chance.choice(held_out)
    first, second = chance.choice(known)
    if split == LONGER:
        return first, second, chance.choice([after for before, after in known if before == second])
    return (first, second) if chance.random() < 0.5 else (chance.choice(list(WORDINGS)),)


def _start(operations: Sequence[str], chance: random.Random) -> Number:
    """A number to start with, of a kind that suits the operations more often than not."""
    if operations[0] == "power":
        return chance.randint(2, 46)
    number = chance.randint(11, 999)
    if operations[0] == "sqrt":
        return chance.randint(2, 31) ** 2 if chance.random() < 0.5 else number
    if "abs_value" in operations and chance.random() < 0.6:
        return -number
    if {"floor", "ceil", "round_number"} & set(operations) and chance.random() < 0.6:
        return round(number + chance.randint(1, 99) / 100, 2)
    return number


def _step(operation: str, value: Number, chance: random.Random) -> Step | None:
    """The operation on a value, with operands of its range; None if it would change nothing or leave the range."""
    operands = _operands(operation, chance)
    after = result(operation, value, operands)
    if after is None or after == value or abs(after) > LARGEST:
        return None
    return Step(operation=operation, operands=operands, value=after)


def _operands(operation: str, chance: random.Random) -> tuple[Number, ...]:
    if operation in ("add", "subtract"):
        return (chance.randint(11, 999),)
    if operation in ("multiply", "divide"):
        return (chance.randint(3, 59),)
    if operation == "sum_numbers":
        return (chance.randint(11, 499), chance.randint(11, 499))
    ranges = {"power": (2, 3), "modulo": (7, 97), "round_number": (0, 1)}
    return (chance.randint(*ranges[operation]),) if operation in ranges else ()


def _worded(start: Number, steps: Sequence[Step], chance: random.Random, *, other: bool) -> str:
    clauses = []
    for step in steps:
        wordings = WORDINGS[step.operation]
        operands = dict(zip("xy", map(written, step.operands), strict=False))
        clauses.append(chance.choice(wordings.other if other else wordings.known).format(**operands))
    return " ".join([OPENING.format(start=written(start)), *clauses, ENDING])
