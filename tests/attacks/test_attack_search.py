"""The search for pay without work: nothing in the presets, and what is planted is found."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from attack_worlds import FAMILIES, PRESETS, bounds, bounds_of

from mentor_kit.audits import search
from mentor_kit.core.conversation import CallState
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rl.reward import Reward, Term, WeightedTerm


@pytest.mark.parametrize("preset", PRESETS)
def test_a_few_mutants_find_nothing(preset: str) -> None:
    found = search(bounds(preset), 500, seed=1)
    assert (found.tries, found.finds) == (500, ())
    assert found.outcomes > 20


@pytest.mark.parametrize("family", FAMILIES)
def test_a_few_mutants_of_every_family_find_nothing(family: str) -> None:
    found = search(bounds("mentor-f1", family=family), 250, seed=2)
    assert (found.tries, found.finds) == (250, ())
    assert found.outcomes > 15


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("preset", PRESETS)
def test_ten_thousand_mutants_find_nothing(preset: str, family: str) -> None:
    found = search(bounds(preset, family=family), 10_000, seed=0)
    assert (found.tries, found.finds) == (10_000, ())
    assert found.outcomes > 80


class PaysForTrying(Term):
    """Takes calls that came to nothing for work, as the published rule does."""

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        tried = {call.name for call in trajectory.calls if call.state is not CallState.UNKNOWN_TOOL}
        return float(tried == set(demonstrations[0].tools_used))


class PaysForTurns(Term):
    """Pays for padding."""

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        return min(1.0, len(trajectory.turns) / 10)


@pytest.mark.spread(4)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("term", [PaysForTrying(), PaysForTurns()])
def test_what_is_planted_is_found(term: PaysForTrying | PaysForTurns, family: str) -> None:
    found = search(bounds_of(Reward(terms=(WeightedTerm("planted", term, 1.0),)), family), 1000, seed=0)
    assert found.finds
    assert all(find.earned > find.bound for find in found.finds)


def test_the_same_seed_tries_the_same() -> None:
    assert search(bounds(), 300, seed=3) == search(bounds(), 300, seed=3)
    assert search(bounds(), 300, seed=3) != search(bounds(), 300, seed=4)
