"""The task `weather`: name the warmest of two cities, or of three out of domain."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations

from mentor_kit.core.conversation import Message, assistant, call
from mentor_kit.core.task import OUT_OF_DOMAIN, TRAIN, Problem, Task, boxed_answer
from mentor_kit.core.trajectory import Trajectory

from mentor_kit_weather.cities import TEMPERATURES


class WeatherTask(Task):
    """The task, with worked solutions for the teacher `scripted`."""

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        """Return the first `count` problems: the same ones for the same split and seed."""
        cities = _choices(split)
        if split == TRAIN:  # the evaluation splits are the same for every seed
            random.Random(seed).shuffle(cities)
        return [_problem(split, names) for names in cities[:count]]

    def answer(self, trajectory: Trajectory) -> str | None:
        """Return the string in the box of the last turn."""
        return boxed_answer(trajectory.final_text)

    def check(self, answer: str, problem: Problem) -> bool:
        """Return whether the answer is the city."""
        return answer.strip().casefold() == problem.answer.casefold()

    def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
        """Ask for the temperature of each city, one call a turn, then answer."""
        cities = problem.extra["cities"]
        asked = sum(message.result is not None for message in dialogue)
        if asked < len(cities):
            return assistant(calls=[call("temperature", city=cities[asked])])
        return assistant(rf"\boxed{{{problem.answer}}}")


def _choices(split: str) -> list[tuple[str, ...]]:
    """The cities of every problem of a split: three of four pairs are for training, the rest is held out."""
    if split == OUT_OF_DOMAIN:
        found: list[tuple[str, ...]] = list(combinations(TEMPERATURES, 3))
    else:
        pairs = enumerate(combinations(TEMPERATURES, 2))
        found = [pair for index, pair in pairs if (index % 4 > 0) == (split == TRAIN)]
    random.Random(0).shuffle(found)
    return found


def _problem(split: str, cities: tuple[str, ...]) -> Problem:
    *most, last = cities
    return Problem(
        id=f"warmest-city/{split}/{'-'.join(cities)}",
        question=f"Which city is the warmest today: {', '.join(most)} or {last}?",
        answer=max(cities, key=TEMPERATURES.__getitem__),
        split=split,
        system=r"Look up the temperatures with the tool, then give the city's name in \boxed{}.",
        extra={"cities": list(cities)},
    )
