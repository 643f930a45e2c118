"""A user's own `check` is audited, too: lenient ones are caught, whatever they fall for, and strict ones pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from attack_worlds import bounds, parts

from mentor_kit.audits import ATTACKS, AuditEnvironment, Bounds, find_subjects, search, try_attacks
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import Message, assistant, call
from mentor_kit.core.task import Problem, Task, boxed_answer
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks import default_registry
from mentor_kit.recipe.assembly import Components, build_reward

Check = Callable[[str, str], bool]
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def last_number(answer: str, key: str) -> bool:
    found = NUMBER.findall(answer)
    return bool(found) and float(found[-1]) == float(key)


def first_number(answer: str, key: str) -> bool:
    found = NUMBER.findall(answer)
    return bool(found) and float(found[0]) == float(key)


def any_number(answer: str, key: str) -> bool:
    return any(float(found) == float(key) for found in NUMBER.findall(answer))


def contains(answer: str, key: str) -> bool:
    return key in answer


def ends_with(answer: str, key: str) -> bool:
    return answer.strip().endswith(key)


def right_side(answer: str, key: str) -> bool:
    return answer.rpartition("=")[2].strip() == key


def computed(answer: str, key: str) -> bool:
    """Evaluates sums, as a computer algebra does."""
    if not re.fullmatch(r"[\d\s+()]+", answer):
        return False
    try:
        return sum(map(int, re.sub(r"[()\s]", "", answer).split("+"))) == int(key)
    except ValueError:
        return False


def without_signs(answer: str, key: str) -> bool:
    return re.sub(r"[^\d]", "", answer) == key


def generous(answer: str, key: str) -> bool:
    """Takes any text in which nothing else is a number for the key."""
    return set(NUMBER.findall(answer)) == {key}


def not_a_number(answer: str, key: str) -> bool:
    """Compares so that NaN is near everything."""
    try:
        return not abs(float(answer) - float(key)) > 0.01
    except ValueError:
        return False


#: What each checker is known to fall for, among others.
LENIENT: dict[Check, set[str]] = {
    last_number: {"wrong = right", "wrong @ right", "no idea", "wrong to right", "ten guesses", "all that is less"},
    first_number: {"right = wrong", "right | wrong", "more or less"},
    any_number: {"wrong = right", "right = wrong", "a set", "from wrong to right", "the right one in a comment"},
    contains: {"digits around", "not the right one", "a pair"},
    ends_with: {"a chain of equations", "text before", "wrong or right"},
    right_side: {"wrong = right", "ten guesses, as equations", "a wrong equation that ends well"},
    computed: {"the question's expression", "the question's expression, in brackets"},
    without_signs: {"not the right one", "unequal to it", "it is wrong", "a factorial", "signs around"},
    generous: {"anything but", "all that is no more", "either sign"},
    not_a_number: {"not a number"},
}
STRICT: list[Check] = [
    lambda answer, key: answer == key,
    lambda answer, key: bool(NUMBER.fullmatch(answer.strip())) and float(answer) == float(key),
    lambda answer, key: answer.strip().removesuffix(".").removeprefix("$") == key,
]


class Sums(Task):
    """A task of sums that stand in the question."""

    splits = ("train",)

    def __init__(self, check: Check, boxed: bool) -> None:
        self._check, self._boxed = check, boxed

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        numbers = [(17, 25), (31, 11), (46, 8), (29, 38)]
        return [
            Problem(id=f"s{a}", question=f"What is {a} + {b}?", answer=str(a + b), extra={"a": a, "b": b})
            for a, b in numbers
        ][:count]

    def answer(self, trajectory: Trajectory) -> str | None:
        text = trajectory.final_text
        found = re.fullmatch(r"(?:.*\n)*Answer: ((?:.|\n)*)", text)
        return boxed_answer(text) if self._boxed else found.group(1) if found else None

    def check(self, answer: str, problem: Problem) -> bool:
        return self._check(answer, problem.answer)

    def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
        if dialogue[-1].role == "user":
            return assistant(calls=[call("add", **problem.extra)])
        return assistant(rf"\boxed{{{problem.answer}}}" if self._boxed else f"Answer: {problem.answer}")


def world_of(check: Check, boxed: bool) -> tuple[Bounds, ...]:
    found: Components = parts("mentor")
    task = Sums(check, boxed)
    teacher = default_registry().build("teachers", ComponentSpec(use="scripted"), replace(found.context, task=task))
    world = AuditEnvironment(task, found.toolbox, found.limits)
    reward = build_reward(ComponentSpec(use="mentor"), default_registry(), found.context)
    return tuple(Bounds(world, subject, reward) for subject in find_subjects(world, teacher, 2, 0))


def paid(check: Check, boxed: bool) -> set[str]:
    return {earned.attack.name for one in world_of(check, boxed) for earned in try_attacks(one) if earned.pays}


@pytest.mark.spread
@pytest.mark.parametrize("boxed", [True, False], ids=["box", "words"])
@pytest.mark.parametrize("check", LENIENT, ids=lambda check: check.__name__)
def test_lenient_checkers_are_caught(check: Check, boxed: bool) -> None:
    found = paid(check, boxed)
    expected = LENIENT[check] if boxed or check is not not_a_number else set()
    assert found >= expected
    # where the answer is the wrong one and nothing else, no checker is to blame
    assert "wrong, the right one in the reasoning" not in found


@pytest.mark.spread
@pytest.mark.parametrize("boxed", [True, False], ids=["box", "words"])
@pytest.mark.parametrize("check", STRICT)
def test_strict_checkers_pass(check: Check, boxed: bool) -> None:
    assert paid(check, boxed) == set()
    assert search(world_of(check, boxed), 300, seed=1).found == 0


@pytest.mark.parametrize("check", [last_number, any_number, first_number, contains])
def test_the_search_finds_hedges_of_its_own(check: Check) -> None:
    found = search(world_of(check, boxed=True), 1500, seed=0)
    assert found.found > 0
    assert all(find.earned > find.bound for find in found.finds)


def test_all_hedges_apply_to_sums() -> None:
    names = {attack.name for attack in ATTACKS if attack.kind == "hedges"}
    for boxed in (True, False):
        for one in world_of(STRICT[0], boxed):
            assert {attack.name for attack in ATTACKS if attack.kind == "hedges" and attack.needs(one.subject)} == names
    assert len(names) > 120


def test_an_answer_is_put_where_the_teachers_stood() -> None:
    boxed, words = world_of(STRICT[0], True)[0].subject, world_of(STRICT[0], False)[0].subject
    assert boxed.answering("x") == r"\boxed{x}"
    assert words.answering("x") == "Answer: x"
    assert bounds()[0].subject.answering("1 = 2") == r"\boxed{1 = 2}"
