"""The task `records`: chains of questions about people, towns and teams in small tables.

    Take Anna. Find the town where they live. Then go to its mayor. What do the records say?

Nothing in it is arithmetic: other tools, other words, and answers that are names and words. The tables are behind the
tools and differ from problem to problem, so a question cannot be answered without a call.

| split | questions |
| --- | --- |
| train | one or two operations, known wordings, two thirds of the ordered pairs of operations |
| in-domain | the same kind, with texts that are never trained on |
| out-of-domain | a third each: `compositions` (held-out pairs), `wordings` (others), `longer` (three operations) |
| broad | all of these kinds mixed, for making a student from nothing |

A text is of training or of evaluation, and never of both. Texts recur within a split, with other tables.
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
from mentor_kit_records.noisy_records import NoisyRecords
from mentor_kit_records.operations import ENDING, OPENING, OPERATIONS, RecordStep, result
from mentor_kit_records.tables import Records, Table, draw_records
from mentor_kit_records.tools import COUNTS, TABLES

COMPOSITIONS, WORDINGS, LONGER, BROAD = "compositions", "wordings", "longer", "broad"

#: How often a question starts with a row of each table.
_STARTS: tuple[Table, ...] = ("people", "people", "people", "towns", "teams")


class RecordsTask(Task):
    """The task `records`, with worked solutions."""

    splits: Sequence[str] = (TRAIN, IN_DOMAIN, OUT_OF_DOMAIN, COMPOSITIONS, WORDINGS, LONGER, BROAD)

    def problems(self, split: str, seed: int, count: int) -> list[Problem]:
        """The first problems of a split. Evaluation splits do not depend on the seed; `count` may be any number.

        Raises:
            UsageError: there is no such split.
        """
        self.check_split(split)
        return list(islice(_stream(split, seed if split in (TRAIN, BROAD) else 0), count))

    def answer(self, trajectory: Trajectory) -> str | None:
        return boxed_answer(trajectory.final_text) if trajectory.ended else None

    def check(self, answer: str, problem: Problem) -> bool:
        return _read(answer) == _read(problem.answer)

    def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
        turns = sum(message.role == "assistant" for message in dialogue[len(problem.opening()) :])
        return _solution(problem)[turns]

    def noisy_world(self, problem: Problem) -> NoisyRecords:
        """A problem as the noisy demonstrator works on it."""
        return NoisyRecords(start_of(problem), steps_of(problem))


def start_of(problem: Problem) -> str:
    """The row a question starts with."""
    return str(problem.extra["start"])


def steps_of(problem: Problem) -> list[RecordStep]:
    """The steps of a question."""
    steps = problem.extra["steps"]
    assert isinstance(steps, list)
    return [RecordStep.model_validate(step) for step in steps]


@lru_cache(maxsize=1)
def pairs() -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """The ordered pairs of operations that can follow each other: those of training, and the third held out."""
    possible = [
        pair for pair in product(OPERATIONS, OPERATIONS) if OPERATIONS[pair[0]].gives == OPERATIONS[pair[1]].takes
    ]
    return without_a_third(possible)


def _read(answer: str) -> frozenset[str]:
    """The names or words of an answer, in any order and case; a count may be in digits."""
    words = (part.strip(" .").casefold() for part in answer.replace(" and ", ",").split(","))
    return frozenset(COUNTS[int(word)] if word.isdecimal() and int(word) < len(COUNTS) else word for word in words)


def _solution(problem: Problem) -> list[Message]:
    """A call for each step, then the answer."""
    messages, value = [], start_of(problem)
    for step in steps_of(problem):
        operation = OPERATIONS[step.operation]
        messages.append(assistant(calls=[call(operation.tool, **operation.arguments(value, step.operand))]))
        value = step.value
    return [*messages, assistant(rf"\boxed{{{problem.answer}}}")]


def _stream(split: str, seed: int) -> Iterator[Problem]:
    if split == OUT_OF_DOMAIN:
        streams = [_stream(group, seed) for group in (COMPOSITIONS, WORDINGS, LONGER)]
        while True:
            for stream in streams:
                yield next(stream).model_copy(update={"split": OUT_OF_DOMAIN})
    chance = random.Random(derive_seed(seed, "records", split))
    number = 0
    while True:
        problem = _draw(split, seed, number, chance)
        if problem is not None:
            number += 1
            yield problem


def _draw(split: str, seed: int, number: int, chance: random.Random) -> Problem | None:
    """A problem of the split; None where what was drawn belongs to another, or a step would lead nowhere new."""
    kind = chance.choice((TRAIN, TRAIN, COMPOSITIONS, WORDINGS, LONGER)) if split == BROAD else split
    records = draw_records(chance)
    operations = _operations(kind, chance)
    start = chance.choice(sorted(records.table(OPERATIONS[operations[0]].takes)))
    steps = _steps(records, start, operations, chance)
    if steps is None:
        return None
    text = _worded(start, steps, chance, other=kind == WORDINGS)
    if is_for_evaluation(text) != (split not in (TRAIN, BROAD)):
        return None
    return Problem(
        id=f"{split}-{seed}-{number}" if split in (TRAIN, BROAD) else f"{split}-{number}",
        question=text,
        answer=steps[-1].value,
        split=split,
        group=kind if kind in (COMPOSITIONS, WORDINGS, LONGER) else f"{len(steps)}-step",
        extra={"start": start, "steps": [step.model_dump() for step in steps], TABLES: records.model_dump()},
    )


def _operations(split: str, chance: random.Random) -> tuple[str, ...]:
    known, held_out = pairs()
    if split == COMPOSITIONS:
        return chance.choice(held_out)
    table = chance.choice(_STARTS)
    first, second = chance.choice([pair for pair in known if OPERATIONS[pair[0]].takes == table])
    if split == LONGER:
        before, middle, last = chance.choice(_triples())
        return before, middle, last
    if chance.random() < 0.5:
        return first, second
    return (chance.choice([name for name, operation in OPERATIONS.items() if operation.takes == table]),)


@lru_cache(maxsize=1)
def _triples() -> tuple[tuple[str, str, str], ...]:
    """Three operations of which both pairs are those of training."""
    known, _ = pairs()
    return tuple((first, second, third) for first, second in known for before, third in known if before == second)


def _steps(records: Records, start: str, operations: Sequence[str], chance: random.Random) -> list[RecordStep] | None:
    """The steps from a row, each of which leads somewhere the chain has not been; None where one does not."""
    value, been, steps = start, {start}, []
    for name in operations:
        operation = OPERATIONS[name]
        operand = ""
        if operation.operand:
            operand = chance.choice(sorted(set(records.table(operation.takes)) - been))
        after = result(records, name, value, operand)
        if after in been:
            return None
        steps.append(RecordStep(operation=name, operand=operand, value=after))
        been |= {after, operand}
        value = after
    return steps


def _worded(start: str, steps: Sequence[RecordStep], chance: random.Random, *, other: bool) -> str:
    clauses = []
    for step in steps:
        operation = OPERATIONS[step.operation]
        clauses.append(chance.choice(operation.other if other else operation.known).format(x=step.operand))
    return " ".join([OPENING.format(start=start), *clauses, ENDING])
