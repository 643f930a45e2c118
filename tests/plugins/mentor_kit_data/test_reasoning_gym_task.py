"""The task `reasoning-gym`: problems of the real generators, checked exactly."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from data_helpers import REGISTRY, built, said

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import MissingError, UsageError
from mentor_kit.hooks.registry import ComponentError

pytestmark = pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="reasoning_gym is not installed")

SUM = {"name": "chain_sum", "config": {"min_terms": 2, "max_terms": 2, "max_digits": 1}}
LONG = {"name": "chain_sum", "config": {"min_terms": 5, "max_terms": 6}}


def gym(**options: Any) -> Any:
    return built("tasks", "reasoning-gym", Path(), **options)


def test_keys_are_right_by_an_evaluation_of_our_own() -> None:
    task = gym(generators=["chain_sum"])
    for problem in task.problems("train", 0, 30):
        expression = re.search(r": ([\d +-]+) =", problem.question)
        assert expression is not None
        right = eval(expression.group(1))
        assert task.check(str(right), problem)
        assert task.check(f"{right}.0", problem)
        assert not task.check(str(right + 1), problem)
        assert not task.check(f"{right} or {right + 1}", problem)
        assert not task.check(f"the answer is {right}", problem)


def test_problems_follow_from_split_and_seed_alone() -> None:
    options = {"generators": ["chain_sum", "gcd"], "out_of_domain": [LONG], "evaluation": 20}
    one, two = gym(**options), gym(**options)
    assert one.splits == ("train", "in-domain", "out-of-domain")
    for split in one.splits:
        assert one.problems(split, 3, 12) == two.problems(split, 3, 12)
        assert one.problems(split, 3, 12)[:5] == two.problems(split, 3, 5)
    assert one.problems("train", 3, 12) != one.problems("train", 4, 12)
    assert one.problems("in-domain", 3, 12) == one.problems("in-domain", 4, 12)
    assert [p.group for p in one.problems("train", 0, 4)] == ["chain_sum", "gcd"] * 2
    assert len(one.problems("in-domain", 0, 1000)) == 20


def test_training_and_evaluation_share_no_question_even_where_there_are_few() -> None:
    task = gym(generators=[SUM], evaluation=100)
    train = [p.question for p in task.problems("train", 0, 5000)]
    evaluation = [p.question for p in task.problems("in-domain", 0, 5000)]
    assert len(evaluation) == 100
    assert 0 < len(train) <= 200  # there are 10 · 10 · 2 such sums
    assert len(set(train)) == len(train)
    assert not set(train) & set(evaluation)


def test_texts_are_checked_as_texts() -> None:
    task = gym(generators=["spell_backward"])
    (problem,) = task.problems("train", 0, 1)
    assert task.check(problem.answer.upper(), problem)
    assert not task.check(problem.answer + "x", problem)
    assert task.answer(said(rf"So \boxed{{{problem.answer}}}")) == problem.answer


@pytest.mark.parametrize(
    ("generators", "reason"),
    [
        (["chain_sun"], r"no generator 'chain_sun' \(did you mean 'chain_sum'\?\)"),
        ([{"name": "chain_sum", "config": {"terms": 2}}], "generator 'chain_sum': .*terms"),
        ([{"name": "chain_sum", "config": {"min_terms": 0}}], "generator 'chain_sum': min_terms must be positive"),
    ],
)
def test_what_the_package_does_not_know_is_named(generators: list[Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        gym(generators=generators)


@pytest.mark.parametrize("options", [{}, {"generators": []}, {"generators": [{"config": {}}]}])
def test_faulty_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ComponentError, match="generators"):
        REGISTRY.check("tasks", ComponentSpec.model_validate({"use": "reasoning-gym", "with": options}))


def test_without_the_package_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mentor_kit.hooks.references.find_spec", lambda name: None)
    with pytest.raises(MissingError) as caught:
        gym(generators=["gcd"])
    assert caught.value.hint == "pip install 'mentor-kit[reasoning-gym]'"
