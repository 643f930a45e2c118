"""The buffer of groups, against a loop that plays steps with episodes that end in any order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from stage_fakes import Digits, trajectory

from mentor_kit.core.task import TRAIN
from mentor_kit.stages.rollout_buffer import RolloutBuffer

PROBLEMS = Digits().problems(TRAIN, 0, 1000)


def end(buffer: RolloutBuffer, which: random.Random) -> None:
    """One of the episodes under way ends."""
    group, index = which.choice(list(buffer.under_way()))
    group.episodes[index] = trajectory(group.problem.id, str(index))


@settings(max_examples=60, deadline=None)
@given(
    staleness=st.integers(1, 4),
    problems=st.integers(1, 4),
    size=st.integers(1, 3),
    steps=st.integers(1, 7),
    extra=st.integers(0, 3),
    seed=st.integers(0, 2**32),
)
def test_every_group_is_taken_once_and_none_too_late(
    staleness: int, problems: int, size: int, steps: int, extra: int, seed: int
) -> None:
    which, buffer, taken = random.Random(seed), RolloutBuffer(staleness, problems, size), []
    for step in range(1, steps + 1):
        for count in (problems, *([which.randint(1, extra)] if extra else [])):  # dynamic sampling takes more
            for _ in range(buffer.missing(count, steps - step)):
                buffer.begin(buffer.begun, PROBLEMS[buffer.begun], step - 1)
            while not buffer.ready(count, step):
                end(buffer, which)
            for _ in range(which.randint(0, 3)):  # more end while the step runs
                if list(buffer.under_way()):
                    end(buffer, which)
            groups = buffer.take(count)
            assert len(groups) == count
            assert all(group.whole for group in groups)
            assert all(step - 1 - group.begun <= staleness for group in groups)
            taken += groups
    assert not buffer.groups, "the last step leaves nothing behind"
    assert sorted(group.number for group in taken) == list(range(buffer.begun))


def test_the_oldest_whole_groups_are_taken():
    buffer = RolloutBuffer(2, 1, 1)
    for number in range(3):
        buffer.begin(number, PROBLEMS[number], 0)
    for number in (2, 1):
        buffer.groups[number].episodes[0] = trajectory(f"p{number}", "1")
    assert buffer.ready(1, 1)
    assert [group.number for group in buffer.take(1)] == [1]


def test_a_group_that_is_due_is_waited_for_and_one_that_is_not_is_overtaken():
    buffer = RolloutBuffer(1, 1, 1)
    first, second = (buffer.begin(number, PROBLEMS[number], 0) for number in range(2))
    second.episodes[0] = trajectory("p1", "1")
    assert buffer.ready(1, 1), "the first group may still come in step 2"
    buffer.take(1)
    third = buffer.begin(2, PROBLEMS[2], 1)
    third.episodes[0] = trajectory("p2", "1")
    assert not buffer.ready(1, 2), "the first group would be 2 steps old in step 3"
    first.episodes[0] = trajectory("p0", "1")
    assert buffer.ready(1, 2)
    assert buffer.take(1) == [first]


def test_lines_bring_everything_back(tmp_path):
    buffer = RolloutBuffer(1, 2, 2)
    for number in range(3):
        buffer.begin(number + 4, PROBLEMS[number + 4], 1)
    buffer.groups[0].episodes[:] = [trajectory("p4", "a\u2028b"), trajectory("p4", "2", correct=True)]
    buffer.groups[2].episodes[1] = trajectory("p6", "3")
    twin = RolloutBuffer(1, 2, 2)
    twin.restore(buffer.to_lines().split("\n")[:-1], 3, PROBLEMS.__getitem__)
    assert (twin.groups, twin.begun) == (buffer.groups, 3)
    assert [(group.number, index) for group, index in twin.under_way()] == [(1, 0), (1, 1), (2, 0)]


def test_lines_of_something_else_are_refused():
    with pytest.raises(ValidationError):
        RolloutBuffer(1, 2, 2).restore(['{"number": 1}'], 3, PROBLEMS.__getitem__)
